"""`fgvc average`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fgvc_cli.cli import options
from fgvc_cli.errors import BadRequest
from fgvc_cli.streams import say

if TYPE_CHECKING:
    from fgvc_cli.runs.schema import AverageRecord


def average(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of two or more trained runs.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the new run.")] = None,
    kind: Annotated[
        Literal["best", "uniform", "greedy"],
        typer.Option(help="uniform: all runs; greedy: those that do not harm; best: the better of both."),
    ] = "best",
    data_dir: options.DataDir = None,
    device: options.Device = None,
    workers: options.Workers = None,
) -> None:
    """Average the weights of runs that start from the same trained weights into one model, as fast as one of them.

    Which runs are taken is chosen on the validation split, which they must share; the test split is measured once, for
    the average. It is a run like any other, but cannot be resumed.
    """
    if out is None:
        raise BadRequest("name the folder of the new run: --out FOLDER")

    from fgvc_cli.api.averaging import average

    run = average(runs, out, kind=kind, data_dir=data_dir, device=device, workers=workers)

    from fgvc_cli.cli.tables import print_evaluation
    from fgvc_cli.runs.folder import RunFolder

    record = run.averaged
    assert record is not None
    _print(record)
    print_evaluation(RunFolder(run.folder).evaluation("test"))
    say(f"the average, {record.chosen}, is the run {out}")


def _print(record: AverageRecord) -> None:
    from fgvc_cli.cli.tables import percent, show
    from fgvc_cli.terminal import new_table

    table = new_table("model", "validation top-1", "validation loss", numbers=("validation top-1", "validation loss"))
    for one in record.runs:
        table.add_row(one.run, percent(one.val_top1), f"{one.val_loss:.4f}")
    for soup in record.soups:
        name = f"{soup.kind}: {len(soup.runs)} of {len(record.runs)} runs"
        style = "bold" if soup.kind == record.chosen else None
        table.add_row(name, percent(soup.val_top1), f"{soup.val_loss:.4f}", style=style)
    show(table, "averages of weights")
