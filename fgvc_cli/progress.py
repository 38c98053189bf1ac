"""Progress of a pass over many images: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fgvc_cli.streams import visible
from fgvc_cli.terminal import Console

_SECONDS_BETWEEN_LINES = 10.0


class Reporter:
    """Shows the progress of one pass over a split: a bar on a terminal, elsewhere a plain line every few seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._title = ""
        self._total = self._done = self._before = self._images = 0
        self._started = self._last_line = 0.0

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Start a pass of `total` batches of which `done` are already done."""
        self._title, self._total, self._done, self._before, self._images = title, total, done, done, 0
        self._started = self._last_line = time.monotonic()
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(
                *columns, TextColumn("{task.fields[facts]}", markup=False), console=self.console, transient=True
            )
            self._bar.add_task(visible(title), total=total, completed=done, facts="")
            self._bar.start()

    def advance(self, images: int) -> None:
        """Count one finished batch of `images` images."""
        self._done += 1
        self._images += images
        if self._bar:
            self._bar.advance(self._bar.task_ids[0])

    def facts(self, values: Mapping[str, float]) -> None:
        """Show named values next to the rate."""
        text = "  ".join([f"{self.rate():.0f} images/s", *(f"{name} {value:.4g}" for name, value in values.items())])
        if self._bar:
            self._bar.update(self._bar.task_ids[0], facts=visible(text))
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.line(f"{self._title}  {self._done}/{self._total}  {text}  {self._remaining()} left")

    def rate(self) -> float:
        """Images per second of this pass."""
        return self._images / max(time.monotonic() - self._started, 1e-9)

    def restart(self) -> None:
        """Measure the rate from here on, unless no batches are left to measure."""
        if self._done < self._total:
            self._started, self._images, self._before = time.monotonic(), 0, self._done

    def end(self) -> None:
        """End the pass and remove the bar."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def line(self, text: str) -> None:
        """Print a line that stays on the screen."""
        self.console.print(text)

    def _remaining(self) -> str:
        seconds = (time.monotonic() - self._started) * (self._total - self._done) / max(self._done - self._before, 1)
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def progress_of(console: Console, note: str = ", once") -> Callable[[str, int, int], None]:
    """A callback `(what, done, total)` that shows progress, for example of checking images or filling a cache.

    With `total` 0 it only prints the line `what`; otherwise it prints `what` followed by `note`, then shows a bar.
    """
    reporter = Reporter(console)

    def progress(what: str, done: int, total: int) -> None:
        if done == 0:
            reporter.line(f"{what}{note}" if total else what)
            if total:
                reporter.begin(what, total)
        else:
            reporter.advance(1)
        if done == total:
            reporter.end()

    return progress
