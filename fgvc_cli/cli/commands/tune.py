"""`fgvc tune`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgvc_cli.cli import options, suites
from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.streams import say, tell

if TYPE_CHECKING:
    from fgvc_cli.suite.places import Place
    from fgvc_cli.suite.plan import Job, SuiteFile, Values
    from fgvc_cli.suite.winners import Winner


def tune(
    suite: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A .toml file of rows with values to search.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials for each row.")] = 20,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the trials. Default: suites/NAME-tuning.")
    ] = None,
    rows: suites.Rows = None,
    data_dir: options.DataDir = None,
    dataset: options.Dataset = None,
    epochs: options.Epochs = None,
    sets: options.Sets = None,
    one_by_one: suites.OneByOne = False,
    at_once: suites.AtOnce = 1,
    slurm: suites.Slurm = False,
) -> None:
    """Pick settings for each row of a suite by the validation split; the test split is measured once, for the winner.

    Values to search are in the file's table [search], or in a row's own: `lr = [0.003, 0.01, 0.03]` or `lr = {low =
    0.001, high = 0.1, log = true}`, by the name of a flag or of a field of the spec. Lists with no more combinations
    than --trials are tried whole; else Optuna samples, and ends a trial that is below the median of those before.

    Whatever stops it, the same command goes on. The winners are written as a suite, for `fgvc suite`.
    """
    from fgvc_cli.suite.plan import open_suite, with_overrides

    file = suites.with_rows(open_suite(suite)[0], rows)
    folder = out or Path("suites") / f"{Path(suite).stem}-tuning"
    given = suites.overrides(data_dir=data_dir, dataset=dataset, epochs=epochs, set=sets)
    flags = {row.name: with_overrides(file.flags_of(row), given) for row in file.rows}
    _has_search(file, suite)
    winners = _tuned(file, flags, folder, trials, suites.place_of(file, folder, slurm, one_by_one, at_once))
    _write(file, flags, folder, winners)


def _has_search(file: SuiteFile, suite: str) -> None:
    bare = [row.name for row in file.rows if not file.search_of(row)]
    if bare:
        raise BadRequest(f"{suite}: nothing to search for row {bare[0]}: add a table [search]")


def _tuned(file: SuiteFile, flags: dict[str, Values], folder: Path, trials: int, place: Place) -> list[Winner]:
    with quick_imports():
        from fgvc_cli.spec.flags import spec_of_row
        from fgvc_cli.suite.places import each
        from fgvc_cli.suite.tuning import run_each, tuning_of
        from fgvc_cli.suite.winners import measure

    tunings = [
        tuning_of(file, row, flags[row.name], spec_of_row, folder, trials) for row in file.rows
    ]  # every row's settings are checked before the first trial
    tried = run_each(tunings, place, _said)
    found = list(zip(tunings, tried, strict=True))
    return each(place, found, lambda one: measure(one[0].row, one[1], place))


def _said(job: Job, state: str) -> None:
    tell(f"{job.row}, {job.folder.name}: {state}")
    sys.stderr.flush()


def _write(file: SuiteFile, flags: dict[str, Values], folder: Path, winners: list[Winner]) -> None:
    from fgvc_cli.cli.tables import new_table, show
    from fgvc_cli.suite.winners import HEADER, cells, write

    table = new_table(*HEADER, numbers=HEADER[2:])
    for winner in winners:
        table.add_row(*cells(winner))
    show(table, file.title or "tuned")
    say("picked by the validation split, one seed; the test split was measured once, for the winner", "")
    suite = write(file, flags, folder, winners)
    say(f"written to {folder}/: trials.csv, {suite.name}; with seeds: fgvc suite {suite}")
