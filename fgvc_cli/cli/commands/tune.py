"""`fgvc tune`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options, suites
from fgvc_cli.streams import say


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

    Whatever stops it, the same command goes on. The winners are written as a suite, for `fgvc suite` with more seeds.
    """
    from fgvc_cli.api.suites import tune

    found = tune(
        suite,
        trials=trials,
        out=out,
        rows=suites.names(rows),
        one_by_one=one_by_one,
        at_once=at_once,
        slurm=slurm,
        data_dir=data_dir,
        dataset=dataset,
        epochs=epochs,
        set=sets,
    )

    from fgvc_cli.cli.tables import show
    from fgvc_cli.suite.winners import HEADER, cells
    from fgvc_cli.terminal import new_table

    table = new_table(*HEADER, numbers=HEADER[2:])
    for winner in found.winners:
        table.add_row(*cells(winner))
    show(table, found.title or "tuned")
    say("picked by the validation split, one seed; the test split was measured once, for the winner", "")
    files = f"{found.trials.name}, {found.suite.name}"
    say(f"written to {found.folder}/: {files}")
    suite, runs = (shlex.quote(str(path)) for path in (found.suite, found.runs))
    say(f"with more seeds: fgvc suite {suite} --seeds 0,1,2 --out {runs}")
