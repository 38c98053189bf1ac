"""A progress bar on stderr with rate and remaining time; plain lines if stderr is not a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

from fgvc_cli.data.download.progress import Progress
from fgvc_cli.streams import visible
from fgvc_cli.terminal import Console

_TEXT = "{task.description}"


class Bar(Progress):
    """Shows the progress of one task at a time on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Bars | None = None
        self._what = ""
        self._finished = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._end()
        self._console.print(line)

    def advance(self, what: str, done: int, total: int | None, unit: str = "bytes") -> None:
        """Move the bar; a new task starts a new one."""
        if done == total and what == self._finished:
            return
        if what != self._what or self._bars is None:
            self._begin(what, unit)
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[0], completed=done, total=total)
        self._finished = ""
        if done == total:
            self._end()
            self._finished = what

    def _begin(self, what: str, unit: str) -> None:
        self._end()
        self._what = what
        if not self._console.is_terminal:
            self._console.print(what)
        columns: tuple[ProgressColumn, ...] = (TextColumn(_TEXT, markup=False), BarColumn())
        columns += (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (TaskProgressColumn(),)
        hidden = self._console.quiet or not self._console.is_terminal
        bars = Bars(*columns, TimeRemainingColumn(), console=self._console, disable=hidden)
        bars.add_task(visible(what), total=None)
        bars.start()
        self._bars = bars

    def _end(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._what = None, ""
