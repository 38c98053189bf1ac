"""Suites from a program: rows of settings with every seed, and settings picked for each row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

from fgvc_cli.api.runs.showing import report as write_report
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.spec.flags import checked_flags, sets_of, spec_of_row
from fgvc_cli.suite.plan import (
    Job,
    Plan,
    SuiteFile,
    Values,
    open_suite,
    plan,
    suite_of,
    with_overrides,
    with_rows,
    with_seeds,
    write_specs,
)
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    from fgvc_cli.suite.places import Place
    from fgvc_cli.suite.results import RowResult
    from fgvc_cli.suite.winners import Winner

_Path: TypeAlias = str | os.PathLike[str]
Suite: TypeAlias = _Path | Mapping[str, Any]  # a .toml file, the name of one that ships, or what a file would hold
_PICTURES = 12  # of each run in a suite's report


class RowFlags(TypedDict, total=False):
    """The flags of `fgvc suite` and `fgvc tune` that win over those of every row; None: not given."""

    data_dir: _Path | None
    dataset: str | None
    epochs: int | None
    set: Sequence[str] | Mapping[str, Any] | None  # FIELD=VALUE, or field → value; added to a row's own


@dataclass(frozen=True)
class SuiteResult:
    """What a suite's finished runs have measured."""

    title: str
    seeds: tuple[int, ...]
    reference: str  # the row that others are compared with
    rows: tuple[RowResult, ...]
    failed: tuple[str, ...]  # runs that failed now, by row and seed; what they said is in FOLDER/ROW/*.log
    folder: Path
    files: Mapping[str, Path]  # the table as md, csv, json and tex; the chart as png
    report: Path | None  # one page over the finished runs, if it was asked for


@dataclass(frozen=True)
class Tuned:
    """The settings that were picked for each row."""

    title: str
    winners: tuple[Winner, ...]
    folder: Path
    trials: Path  # a CSV file of all trials
    suite: Path  # the winners as a suite, for `run_suite` with several seeds
    runs: Path  # its `out`, in which the winners are already, with the first seed


def run_suite(
    suite: Suite,
    *,
    out: _Path | None = None,
    seeds: Sequence[int] | None = None,
    rows: Sequence[str] | None = None,
    one_by_one: bool = False,
    at_once: int = 1,
    slurm: bool = False,
    table_only: bool = False,
    report: bool = False,
    progress: bool = True,
    **flags: Unpack[RowFlags],
) -> SuiteResult:
    """Run rows of settings, each with every seed, and make one table of them, as `fgvc suite` does.

    Whatever stops it, the same call goes on: finished runs are not run again. A run that fails stops no other.

    Args:
        suite: a .toml file, the name of a suite that ships (`catalog.suites`), or what a file would hold.
        out: folder of the runs and the table; None: suites/NAME.
        seeds: in the place of the suite's.
        rows: only these, by name.
        one_by_one: one run at a time, also where there are several GPUs.
        at_once: runs at once on each GPU, or on this machine.
        slurm: as jobs of a Slurm cluster, with the settings of the suite's table `slurm`.
        table_only: run nothing, collect what is finished.
        report: also write one web page over the finished runs.
        progress: show notes and progress on stderr.
        flags: those of every row: `data_dir`, `dataset`, `epochs`, `set`.

    Raises:
        BadRequest: the suite, a row or a flag is wrong; nothing was started.
        FgvcError: a finished run cannot be read, or the table cannot be written.
    """
    given = _overrides(flags, "fgvc.run_suite")
    file = with_rows(with_seeds(_opened(suite), seeds), rows)
    planned = plan(file, _folder(suite, out, ""), given, spec_of_row)
    write_specs(planned)
    console = Console(stderr=True, quiet=not progress)
    failed = []
    if not table_only:
        place = _place(file, planned.out, slurm, one_by_one, at_once)
        failed = _run(planned, place, console)
    with quick_imports():
        from fgvc_cli.suite.results import collect
        from fgvc_cli.suite.writing import write_table

    found = collect(planned)
    files = write_table(planned.out, found, file.reference)
    page = _report(planned, progress) if report else None
    labels = tuple(job.label for job in failed)
    return SuiteResult(file.title, tuple(file.seeds), file.reference, tuple(found), labels, planned.out, files, page)


def tune(
    suite: Suite,
    *,
    trials: int = 20,
    out: _Path | None = None,
    rows: Sequence[str] | None = None,
    one_by_one: bool = False,
    at_once: int = 1,
    slurm: bool = False,
    progress: bool = True,
    **flags: Unpack[RowFlags],
) -> Tuned:
    """Pick settings for each row of a suite by the validation split, as `fgvc tune` does.

    The test split is measured once, for the winner. Whatever stops it, the same call goes on.

    Args:
        suite: as for `run_suite`, with values to search (`search`).
        trials: for each row.
        out: folder of the trials; None: suites/NAME-tuning.
        rows: only these, by name.
        one_by_one: one trial at a time, also where there are several GPUs.
        at_once: trials at once on each GPU, or on this machine.
        slurm: as jobs of a Slurm cluster, with the settings of the suite's table `slurm`.
        progress: tell of each trial on stderr.
        flags: those of every row: `data_dir`, `dataset`, `epochs`, `set`.

    Raises:
        BadRequest: the suite, a row or a flag is wrong; nothing was started.
        FgvcError: Optuna is missing, or no trial of a row has finished.
    """
    given = _overrides(flags, "fgvc.tune")
    if trials < 1:
        raise BadRequest(f"--trials {trials}: give at least 1")
    file = with_rows(_opened(suite), rows)
    bare = [row.name for row in file.rows if not file.search_of(row)]
    if bare:
        raise BadRequest(f"nothing to search for row {bare[0]}: add a table [search]")
    folder = _folder(suite, out, "-tuning")
    settings = {row.name: with_overrides(file.flags_of(row), given) for row in file.rows}
    place = _place(file, folder, slurm, one_by_one, at_once)
    winners = _tuned(file, settings, folder, trials, place, Console(stderr=True, quiet=not progress))

    from fgvc_cli.suite.winners import TRIALS, begin_suite, write

    written = write(file, settings, folder, winners)
    runs = begin_suite(folder, winners, file.seeds[0])
    return Tuned(file.title, tuple(winners), folder, folder / TRIALS, written, runs)


def _opened(suite: Suite) -> SuiteFile:
    return suite_of(suite, "suite") if isinstance(suite, Mapping) else open_suite(os.fspath(suite))[0]


def _folder(suite: Suite, out: _Path | None, ending: str) -> Path:
    if out is not None:
        return expanded(out)
    if isinstance(suite, Mapping):
        raise BadRequest("a suite without a file has no name: give its folder, out=FOLDER")
    return Path("suites") / f"{Path(suite).stem}{ending}"


def _overrides(flags: Mapping[str, Any], of: str) -> Values:
    """The flags that were given, for every row."""
    found = checked_flags(flags, RowFlags.__annotations__, of)
    found["set"] = sets_of(found.get("set"))
    return {key: value for key, value in found.items() if value not in (None, [])}


def _run(planned: Plan, place: Place, console: Console) -> list[Job]:
    from fgvc_cli.suite.board import Board
    from fgvc_cli.suite.running import run_all

    board = Board(planned, console)
    with board.shown():
        return run_all(planned, board, place)


def _place(file: SuiteFile, folder: Path, slurm: bool, one_by_one: bool, at_once: int) -> Place:
    with quick_imports():
        from fgvc_cli.suite.running import place_of

    return place_of(file, folder, slurm=slurm, one_by_one=one_by_one, at_once=at_once)


def _report(planned: Plan, progress: bool) -> Path | None:
    runs = [job.folder for job in planned.jobs if job.finished]
    if not runs:
        return None
    page = planned.out / "report.html"
    return write_report(runs, page, {}, sample=_PICTURES, force=True, progress=progress).file


def _tuned(
    file: SuiteFile, flags: dict[str, Values], folder: Path, trials: int, place: Place, console: Console
) -> list[Winner]:
    with quick_imports():
        from fgvc_cli.suite.places import each
        from fgvc_cli.suite.tuning import run_each, tuning_of
        from fgvc_cli.suite.winners import measure

    def tell(job: Job, state: str) -> None:
        console.print(f"{job.row}, {job.folder.name}: {state}")

    tunings = [
        tuning_of(file, row, flags[row.name], spec_of_row, folder, trials) for row in file.rows
    ]  # every row's settings are checked before the first trial
    tried = run_each(tunings, place, tell)
    found = list(zip(tunings, tried, strict=True))
    return each(place, found, lambda one: measure(one[0].row, one[1], place))
