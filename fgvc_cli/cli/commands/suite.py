"""`fgvc suite`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgvc_cli.cli import options, suites
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.streams import say

if TYPE_CHECKING:
    from fgvc_cli.suite.places import Place
    from fgvc_cli.suite.plan import Job, Plan

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
    from fgvc_cli.spec.flags import spec_of_row
    from fgvc_cli.suite.plan import open_suite, plan, shipped, write_specs

    if suite == SHOW:
        _show(name, shipped())
        return
    if name is not None:
        raise BadRequest(f"{name}: one suite at a time")
    file, _ = open_suite(suite)
    file = suites.with_rows(suites.with_seeds(file, seeds), rows)
    folder = out or Path("suites") / Path(suite).stem
    given = suites.overrides(data_dir=data_dir, dataset=dataset, epochs=epochs, set=sets)
    planned = plan(file, folder, given, spec_of_row)
    write_specs(planned)
    failed = [] if table_only else _run(planned, suites.place_of(file, folder, slurm, one_by_one, at_once))
    _write(planned)
    if report:
        _report(planned)
    if failed:
        names = ", ".join(job.label for job in failed)
        raise FgvcError(
            f"{len(failed)} of {len(planned.jobs)} runs failed: {names}; what they said is in {folder}/ROW/*.log"
        )


def _show(name: str | None, shipped: list[str]) -> None:
    from fgvc_cli.suite.plan import open_suite

    if name is not None:
        say(open_suite(name)[1])
        return
    from fgvc_cli.cli.tables import new_table, show

    table = new_table("suite", "rows", "what", numbers=("rows",))
    for one in shipped:
        file, _ = open_suite(one)
        table.add_row(one, str(len(file.rows)), file.title)
    show(table)


def _run(planned: Plan, place: Place) -> list[Job]:
    from fgvc_cli.cli.suite_board import Board
    from fgvc_cli.suite.running import run_all
    from fgvc_cli.terminal import Console

    board = Board(planned, Console(stderr=True))
    with board.shown():
        return run_all(planned, board, place)


def _write(planned: Plan) -> None:
    with quick_imports():
        from fgvc_cli.cli.tables import new_table, show
        from fgvc_cli.suite.results import collect
        from fgvc_cli.suite.writing import HEADER, cells, write_table

    results = collect(planned)
    lines = [cells(row) for row in results]
    kept = [place for place in range(len(HEADER)) if any(line[place] for line in lines)]
    head = [HEADER[place] for place in kept]
    table = new_table(*head, numbers=tuple(head[1:]))
    for row, line in zip(results, lines, strict=True):
        table.add_row(*(line[place] for place in kept), style="bold" if row.name == planned.file.reference else None)
    show(table, planned.file.title or "the suite")
    say(
        f"top-1 and errors in per cent, mean ± standard deviation over seeds "
        f"{', '.join(map(str, planned.file.seeds))}; difference to "
        f"{planned.file.reference} in points, with the 95 % interval over test images and seeds",
        "",
    )
    written = write_table(planned.out, results, planned.file.reference)
    say(f"written to {planned.out}/: {', '.join(file.name for file in written.values())}")


def _report(planned: Plan) -> None:
    from fgvc_cli.inference.request import EvalRequest
    from fgvc_cli.report.page import write_report
    from fgvc_cli.terminal import Console

    runs = [job.run for job in planned.jobs if job.finished]
    if runs:
        file = planned.out / "report.html"
        written = write_report(runs, file, EvalRequest(), Console(stderr=True), sample=12, force=True)
        say(f"written: {written.file}")
