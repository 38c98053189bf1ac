"""What tuning has found: each row's winner, measured once on the test split, and the suite of the winners."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgvc_cli.csv_text import csv_text
from fgvc_cli.errors import FgvcError
from fgvc_cli.files import explained, write_text
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.suite.places import Place
from fgvc_cli.suite.plan import SuiteFile, Values
from fgvc_cli.suite.search import picked_text, suite_text, with_picked
from fgvc_cli.suite.tuning import Tried, best_of

HEADER = ("row", "picked", "validation top-1", "test top-1", "trials", "pruned", "failed")
TRIALS = "trials.csv"
TRIALS_HEADER = ("row", "trial", "picked", "state", "validation top-1", "validation loss")


@dataclass(frozen=True)
class Winner:
    """The trial that a row's settings are taken from."""

    row: str
    best: Tried
    test_top1: float  # 0..1
    tried: tuple[Tried, ...]


def measure(row: str, tried: Sequence[Tried], place: Place) -> Winner:
    """Evaluate the best trial on the test split, unless that is done. FgvcError if no trial has finished."""
    best = best_of(tried)
    if best is None or best.folder is None:
        raise FgvcError(f"row {row}: none of {len(tried)} trials has finished; what they said is beside their folders")
    run = RunFolder(best.folder)
    if not run.evaluation_file("test").is_file():
        command = [sys.executable, "-m", "fgvc_cli", "eval", str(run.path)]
        ended = place.run(command, best.folder.with_name(f"{best.folder.name}.log"), lambda _: None, lambda: False)
        if ended is None or ended.code:
            reason = "stopped" if ended is None else ended.reason
            raise FgvcError(f"row {row}: the winner cannot be evaluated: {reason}")
    return Winner(row, best, run.evaluation("test")["branches"]["final"]["top1"], tuple(tried))


def cells(winner: Winner) -> list[str]:
    """A winner as text, by HEADER."""
    counts = [str(sum(one.state == state for one in winner.tried)) for state in ("pruned", "failed")]
    shares = [f"{100 * share:.2f}" for share in (winner.best.top1 or 0, winner.test_top1)]
    return [winner.row, picked_text(winner.best.picked), *shares, str(len(winner.tried)), *counts]


def write(file: SuiteFile, flags: dict[str, Values], folder: Path, winners: Sequence[Winner]) -> Path:
    """Write trials.csv, and the winners as tuned.toml, a suite; returns that."""
    rows = [
        [winner.row, str(one.number), picked_text(one.picked), one.state, _number(one.top1), _number(one.loss)]
        for winner in winners
        for one in winner.tried
    ]
    write_text(folder / TRIALS, csv_text(TRIALS_HEADER, rows))
    picked = {winner.row: with_picked(flags[winner.row], winner.best.picked) for winner in winners}
    suite = folder / "tuned.toml"
    write_text(suite, suite_text(file, picked))
    return suite


def begin_suite(folder: Path, winners: Sequence[Winner], seed: int) -> Path:
    """The folder for the runs of the winners' suite, in which each winner's trial is the run with the trials' seed."""
    runs = folder / "runs"
    for winner in winners:
        assert winner.best.folder is not None
        place = runs / winner.row
        with explained(str(place)):
            place.mkdir(parents=True, exist_ok=True)
            for ending in ("", ".json", ".log"):
                link = place / f"seed-{seed}{ending}"
                link.unlink(missing_ok=True)  # of a winner before
                link.symlink_to(os.path.relpath(f"{winner.best.folder}{ending}", place))
    return runs


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
