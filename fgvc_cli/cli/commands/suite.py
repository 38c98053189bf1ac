"""`fgvc suite`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgvc_cli.cli import options, suites
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.streams import say

if TYPE_CHECKING:
    from fgvc_cli.api.suites import SuiteResult

SHOW = "show"


def suite(
    suite: Annotated[
        str,
        typer.Argument(metavar="FILE|NAME|show", help="A .toml file, or a suite that ships; show: list or print it."),
    ],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="After show: the suite to print.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the runs and the table. Default: suites/NAME.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds in the place of the file's, such as 0,1,2.")] = None,
    rows: suites.Rows = None,
    data_dir: options.DataDir = None,
    dataset: options.Dataset = None,
    epochs: options.Epochs = None,
    sets: options.Sets = None,
    one_by_one: suites.OneByOne = False,
    at_once: suites.AtOnce = 1,
    slurm: suites.Slurm = False,
    table_only: Annotated[
        bool, typer.Option("--table-only", help="Run nothing: write the table of what is finished.")
    ] = False,
    report: Annotated[bool, typer.Option("--report", help="Also write one report over the finished runs.")] = False,
) -> None:
    """Run rows of settings, each with every seed, and make one table of them.

    Whatever stops it, the same command goes on: finished runs are never run again, half ones are continued. A run that
    fails is named, and the others go on. On several GPUs, that many runs at once.

    The file's rows have the flags of `fgvc train` (`method = "reaps"`, `epochs = 6`, `set = ["method.stages=2"]`).
    """
    if suite == SHOW:
        _show(name)
        return
    if name is not None:
        raise BadRequest(f"{name}: one suite at a time")

    from fgvc_cli.api.suites import run_suite

    found = run_suite(
        suite,
        out=out,
        seeds=suites.numbers(seeds),
        rows=suites.names(rows),
        one_by_one=one_by_one,
        at_once=at_once,
        slurm=slurm,
        table_only=table_only,
        report=report,
        data_dir=data_dir,
        dataset=dataset,
        epochs=epochs,
        set=sets,
    )
    _print(found)
    if found.failed:
        jobs = len(found.rows) * len(found.seeds)
        raise FgvcError(
            f"{len(found.failed)} of {jobs} runs failed: {', '.join(found.failed)}; "
            f"what they said is in {found.folder}/ROW/*.log"
        )


def _show(name: str | None) -> None:
    if name is not None:
        from fgvc_cli.suite.plan import open_suite

        say(*open_suite(name)[1].splitlines())
        return
    from fgvc_cli.api import catalog
    from fgvc_cli.cli.tables import show
    from fgvc_cli.terminal import new_table

    table = new_table("suite", "rows", "what", numbers=("rows",))
    for one, file in catalog.suites().items():
        table.add_row(one, str(len(file.rows)), file.title)
    show(table)


def _print(found: SuiteResult) -> None:
    from fgvc_cli.cli.tables import show
    from fgvc_cli.suite.writing import HEADER, cells
    from fgvc_cli.terminal import new_table

    lines = [cells(row) for row in found.rows]
    kept = [place for place in range(len(HEADER)) if any(line[place] for line in lines)]
    head = [HEADER[place] for place in kept]
    table = new_table(*head, numbers=tuple(head[1:]))
    for row, line in zip(found.rows, lines, strict=True):
        table.add_row(*(line[place] for place in kept), style="bold" if row.name == found.reference else None)
    show(table, found.title or "the suite")
    say(
        f"top-1 and errors in per cent, mean ± standard deviation over seeds {', '.join(map(str, found.seeds))}; "
        f"difference to {found.reference} in points, with the 95 % interval over test images and seeds",
        "",
    )
    say(f"written to {found.folder}/: {', '.join(file.name for file in found.files.values())}")
    if found.report is not None:
        say(f"written: {found.report}")
