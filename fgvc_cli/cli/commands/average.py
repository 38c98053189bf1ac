"""`fgvc average`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fgvc_cli.cli import options
from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.streams import say

if TYPE_CHECKING:
    from fgvc_cli.training.averages.soup import Averaged


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
    from fgvc_cli.runs.folder import RunFolder

    if out is None:
        raise BadRequest("name the folder of the new run: --out FOLDER")
    folders = [RunFolder.open(run) for run in runs]

    from fgvc_cli.terminal import Console

    with quick_imports():
        from fgvc_cli.cli.tables import print_evaluation
        from fgvc_cli.inference.request import EvalRequest
        from fgvc_cli.training.averages.soup import average_runs

    request = EvalRequest("test", device=device, workers=workers, root=data_dir)
    found = average_runs(folders, out, kind, request, Console(stderr=True))
    _print(found)
    print_evaluation(found.result)
    say(f"the average, {found.chosen.kind}, is the run {out}")


def _print(found: Averaged) -> None:
    from fgvc_cli.cli.tables import new_table, percent, show

    table = new_table("model", "validation top-1", "validation loss", numbers=("validation top-1", "validation loss"))
    for run, one in zip(found.runs, found.alone, strict=True):
        table.add_row(str(run), percent(one.top1), f"{one.loss:.4f}")
    for soup in found.soups:
        name = f"{soup.kind}: {len(soup.members)} of {len(found.runs)} runs"
        style = "bold" if soup is found.chosen else None
        table.add_row(name, percent(soup.measure.top1), f"{soup.measure.loss:.4f}", style=style)
    show(table, "averages of weights")
