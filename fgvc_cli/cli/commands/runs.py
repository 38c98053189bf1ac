"""`fgvc runs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgvc_cli.errors import FgvcError
from fgvc_cli.streams import say, tell

if TYPE_CHECKING:
    from fgvc_cli.api.run import Run
    from fgvc_cli.spec.run import RunSpec

_UNREADABLE = "(cannot be read)"


def runs(folder: Annotated[Path, typer.Argument(help="A folder that contains run folders.")] = Path("runs")) -> None:
    """List the runs in a folder, highest test top-1 first. A file that cannot be read is noted below the list."""
    from fgvc_cli.api.run import Run
    from fgvc_cli.cli.tables import show
    from fgvc_cli.terminal import new_table

    problems: list[str] = []
    rows = sorted((_row(run, problems) for run in Run.all(folder, trained=False)), key=lambda row: -row["score"])
    if not rows:
        say(f"no runs in {folder}/")
        return
    columns = ("run", "method", "dataset", "backbone", "size", "seed", "epochs", "test top-1", "mean per class")
    table = new_table(*columns, numbers=columns[4:])
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    show(table)
    for problem in problems:
        tell(f"note: {problem}")


def _row(run: Run, problems: list[str]) -> dict[str, Any]:
    """The table row of a run. A file that cannot be read adds a line to `problems`, and its cells say so."""
    row: dict[str, Any] = dict.fromkeys(("method", "dataset", "backbone", "size", "seed", "epochs"), "")
    row |= {"run": run.name, "score": -1.0, "test top-1": "", "mean per class": ""}
    try:
        spec = run.spec
    except FgvcError as error:
        problems.append(str(error))
        return row | {"method": _UNREADABLE}
    row |= {"method": spec.method.name, "dataset": spec.data.dataset, "backbone": spec.backbone.name}
    row |= {"size": spec.data.side, "seed": spec.train.seed}
    for columns in (_progress, _result):
        try:
            row |= columns(run, spec)
        except FgvcError as error:
            problems.append(str(error))
            row["epochs" if columns is _progress else "test top-1"] = _UNREADABLE
    return row


def _progress(run: Run, spec: RunSpec) -> dict[str, Any]:
    return {"epochs": f"{len(run.epochs)}/{spec.train.epochs}"}


def _result(run: Run, _: RunSpec) -> dict[str, Any]:
    if not run.evaluated:
        return {}
    final = run.measures.branches.final
    cells = {"test top-1": _percent(final.top1), "mean per class": _percent(final.mean_per_class)}
    return {"score": final.top1, **cells}


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"
