"""`fgvc runs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgvc_cli.errors import FgvcError

if TYPE_CHECKING:
    from fgvc_cli.runs.folder import RunFolder


def runs(folder: Annotated[Path, typer.Argument(help="A folder that contains run folders.")] = Path("runs")) -> None:
    """List the runs in a folder, highest test top-1 first."""
    from fgvc_cli.cli.tables import new_table, show
    from fgvc_cli.runs.folder import find_runs

    rows = sorted((_row(run) for run in find_runs(folder)), key=lambda row: -row["score"])
    if not rows:
        typer.echo(f"no runs in {folder}/")
        return
    columns = ("run", "method", "dataset", "backbone", "size", "seed", "epochs", "test top-1", "mean per class")
    table = new_table(*columns, numbers=columns[4:])
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    show(table)


def _row(run: RunFolder) -> dict[str, Any]:
    """The table row of a run; a damaged run is listed as such."""
    row: dict[str, Any] = dict.fromkeys(("method", "dataset", "backbone", "size", "seed", "epochs"), "")
    row |= {"run": run.name, "score": -1.0, "test top-1": "", "mean per class": ""}
    try:
        spec = run.spec()
        row |= {"method": spec.method.name, "dataset": spec.data.dataset, "backbone": spec.backbone.name}
        row |= {"size": spec.data.image_size, "seed": spec.train.seed}
        row["epochs"] = f"{_epochs_done(run)}/{spec.train.epochs}"
        if run.evaluation_file("test").exists():
            final = run.read_json("eval/test.json")["branches"]["final"]
            row |= {"score": final["top1"], "test top-1": _percent(final["top1"])}
            row["mean per class"] = _percent(final["mean_per_class"])
    except (FgvcError, KeyError, TypeError):
        row["method"] = "(cannot be read)"
    return row


def _epochs_done(run: RunFolder) -> int:
    if not run.metrics_file.exists():
        return 0
    return max(len(run.metrics_file.read_text(encoding="utf-8").splitlines()) - 1, 0)


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"
