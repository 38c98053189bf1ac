"""What a suite's runs are doing: a table that is kept up to date on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.live import Live

from fgvc_cli.runs.journal import read_metrics
from fgvc_cli.terminal import Console, new_table

if TYPE_CHECKING:
    from rich.table import Table

    from fgvc_cli.suite.plan import Job, Plan

_DONE = ("finished", "finished before")
_REFRESHES = 1.0  # a second
_LINES_ASIDE = 12  # of a terminal, that the table leaves free: its head, and what was printed before


class Board:
    """The state of each run of a suite.

    Args:
        plan: the suite.
        console: where it is shown.
    """

    def __init__(self, plan: Plan, console: Console) -> None:
        self.plan, self.console = plan, console
        self.states: dict[str, str] = {}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it while runs are going on."""
        if self.console.quiet or not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self.table, console=self.console, refresh_per_second=_REFRESHES, transient=True):
            yield

    def __call__(self, job: Job, state: str) -> None:
        """Take note that a run has another state."""
        self.states[job.label] = state
        told = state.startswith("failed") or not self.console.is_terminal  # the rest is in the table
        if told:
            self.console.print(f"{self.count} {job.label}: {state}")

    @property
    def count(self) -> str:
        """How many runs are finished."""
        done = sum(state in _DONE for state in self.states.values())
        return f"[{done}/{len(self.plan.jobs)}]"

    def table(self) -> Table:
        """The table now: the runs that go on, then the rows' counts, as many as the terminal has room for."""
        table = new_table("row", "seeds", "running", "epoch", "left", "so far", numbers=("seeds", "left", "so far"))
        rows = [self._row(row.name) for row in self.plan.file.rows]
        rows.sort(key=lambda cells: not cells[2])  # those that run come first
        room = max(self.console.height - _LINES_ASIDE, 1)
        for cells in rows[:room]:
            table.add_row(*cells)
        if len(rows) > room:
            table.add_row(f"… and {len(rows) - room} more rows", *[""] * 5)
        return table

    def _row(self, name: str) -> list[str]:
        jobs = self.plan.of_row(name)
        done = sum(self.states.get(job.label) in _DONE for job in jobs)
        failed = sum(self.states.get(job.label, "").startswith("failed") for job in jobs)
        going = [job for job in jobs if self.states.get(job.label, "").startswith("running")]
        counted = f"{done}/{len(jobs)}" + (f", {failed} failed" if failed else "")
        if not going:
            return [name, counted, "", "", "", ""]
        where = [f"seed {job.seed}{self.states[job.label].removeprefix('running')}" for job in going]
        return [name, counted, ", ".join(where), *progress(going[0])]


def progress(job: Job) -> list[str]:
    """Of a run that goes on: its epoch, the time left, and its accuracy or loss so far."""
    rows, _ = read_metrics(job.run.metrics_file)
    epochs = job.spec.train.epochs
    if not rows:
        return [f"1/{epochs}", "", ""]
    last = rows[-1]
    a_row = sum(row.get("seconds", 0.0) for row in rows) / len(rows)
    left = (epochs - len(rows)) * a_row
    if "val_top1" in last:
        so_far = f"validation {100 * last['val_top1']:.1f} %"
    else:
        so_far = f"loss {last['train_loss']:.3g}" if "train_loss" in last else ""
    return [f"{min(len(rows) + 1, epochs)}/{epochs}", f"{left / 60:.0f} min", so_far]
