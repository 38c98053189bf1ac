"""What a run tells while it trains: progress on a terminal or plain lines, metrics.csv, TensorBoard events."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fgvc_cli.errors import FgvcError
from fgvc_cli.files import explained, write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_SECONDS_BETWEEN_LINES = 10.0


class MetricsFile:
    """metrics.csv: one row an epoch, columns added as they appear, the file always whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []

    def cut(self, epoch: int) -> None:
        """Read the file and keep the rows before `epoch`: what a resumed run has really done."""
        if not self.path.exists():
            return
        try:
            rows = list(csv.DictReader(io.StringIO(self.path.read_text(encoding="utf-8"))))
            self.rows = [row for row in rows if int(row["epoch"]) < epoch]
        except (OSError, ValueError, KeyError) as error:
            raise FgvcError(f"cannot read {self.path}: {error}") from None
        self._write()

    def append(self, row: Mapping[str, Any]) -> None:
        """Add an epoch's row; floats are written so that they read back exactly."""
        self.rows.append({key: str(value) for key, value in row.items()})
        self._write()

    def _write(self) -> None:
        columns = dict.fromkeys(key for row in self.rows for key in row)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())


def read_metrics(path: Path) -> tuple[list[dict[str, float]], list[str]]:
    """The rows of a metrics.csv as numbers, and what is wrong with the file, in a line each.

    A row without a readable epoch is left out, and so is a value that is no finite number: the rest is still worth
    looking at. Rows rise by epoch; of two of the same epoch the later counts.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            read = list(csv.DictReader(file))
    except FileNotFoundError:
        return [], [f"there is no {path.name}: no epoch has been finished yet, or the file was removed"]
    except (OSError, ValueError, csv.Error) as error:
        return [], [f"{path.name} cannot be read: {error}"]
    rows = [_numbers(row) for row in read]
    whole = {row["epoch"]: row for row in rows if "epoch" in row}
    short = sum("epoch" not in row or len(row) < len(given) for row, given in zip(rows, map(_given, read), strict=True))
    damage = f"{path.name} is damaged: {short} of its {len(rows)} rows hold something that is no number"
    return [whole[epoch] for epoch in sorted(whole)], [damage] if short else []


def _numbers(row: dict[str, str]) -> dict[str, float]:
    """The values of a row that are finite numbers."""
    found = {}
    for key, text in _given(row).items():
        with suppress(ValueError):
            found[key] = float(text)
    return {key: value for key, value in found.items() if math.isfinite(value)}


def _given(row: dict[str, Any]) -> dict[str, str]:
    """The values of a row that are not empty; a surplus of values has no name (None), a lack of them no text."""
    return {str(key): str(text) for key, text in row.items() if text not in ("", None)}


class Events:
    """TensorBoard scalars. `first_step` hides what a killed run wrote beyond the point it resumes from."""

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        with explained(str(folder)):
            self.writer: SummaryWriter = SummaryWriter(str(folder), purge_step=first_step or None)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write name → value at an optimizer step."""
        with explained("the TensorBoard events"):
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the file. A full disk has been, or will be, told by what matters more."""
        with suppress(OSError):
            self.writer.close()


@dataclass(frozen=True)
class Journal:
    """What a run writes down as it goes; one without files, of all processes but the main one, writes nothing."""

    metrics: MetricsFile | None = None
    events: Events | None = None

    def row(self, row: Mapping[str, Any]) -> None:
        """An epoch's row of metrics.csv."""
        if self.metrics is not None:
            self.metrics.append(row)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """TensorBoard scalars at an optimizer step."""
        if self.events is not None:
            self.events.scalars(values, step)


class Reporter:
    """Progress of one pass over a split. A bar on a terminal; elsewhere a plain line now and then."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._title = ""
        self._total = self._done = self._before = self._images = 0
        self._started = self._last_line = 0.0

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Start a pass of `total` batches of which `done` are behind us."""
        self._title, self._total, self._done, self._before, self._images = title, total, done, done, 0
        self._started = self._last_line = time.monotonic()
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[facts]}"), console=self.console, transient=True)
            self._bar.add_task(title, total=total, completed=done, facts="")
            self._bar.start()

    def advance(self, images: int) -> None:
        """One batch of so many images is done."""
        self._done += 1
        self._images += images
        if self._bar:
            self._bar.advance(self._bar.task_ids[0])

    def facts(self, values: Mapping[str, float]) -> None:
        """Show values by name beside the rate."""
        text = "  ".join([f"{self.rate():.0f} images/s", *(f"{name} {value:.4g}" for name, value in values.items())])
        if self._bar:
            self._bar.update(self._bar.task_ids[0], facts=text)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.line(f"{self._title}  {self._done}/{self._total}  {text}  {self._remaining()} left")

    def rate(self) -> float:
        """Images per second of this pass."""
        return self._images / max(time.monotonic() - self._started, 1e-9)

    def restart(self) -> None:
        """Measure the rate from here on, unless nothing is left to measure it by."""
        if self._done < self._total:
            self._started, self._images, self._before = time.monotonic(), 0, self._done

    def end(self) -> None:
        """The pass is over; the bar goes."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def line(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _remaining(self) -> str:
        seconds = (time.monotonic() - self._started) * (self._total - self._done) / max(self._done - self._before, 1)
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
