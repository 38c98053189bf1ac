"""What a run records: metrics.csv with one row per epoch, TensorBoard events, and an experiment tracker, if any."""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from os.path import lexists
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgvc_cli.errors import FgvcError
from fgvc_cli.files import explained, make_folder, read_text, write_text
from fgvc_cli.machine.memory import peak_memory

if TYPE_CHECKING:
    import torch
    from tensorboard.compat.proto.event_pb2 import Event

    from fgvc_cli.runs.tracking.tracking import Tracking

COSTS = ("seconds", "memory_mib")  # columns of metrics.csv that differ from machine to machine
_DIGITS = 16  # a step or epoch with more is damage


def cost_of(started: float, device: torch.device) -> dict[str, float]:
    """The columns COSTS of an epoch's row: seconds since `started` (of time.monotonic) and the peak memory so far."""
    costs = (time.monotonic() - started, peak_memory(device))
    return {name: round(cost, 2) for name, cost in zip(COSTS, costs, strict=True) if cost is not None}


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv as text, each with the whole number `epoch`; none if there is no such file.

    FgvcError, with line and field, if it cannot be read.
    """
    try:
        rows = _read(path)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise FgvcError(f"cannot read {path}: {_reason(error)}") from None
    for line, row in enumerate(rows, 2):
        epoch = row.get("epoch") or ""
        if not (epoch.isdecimal() and len(epoch) < _DIGITS):
            raise FgvcError(f"cannot read {path}: line {line}: epoch: must be a whole number (got {epoch[:20]!r})")
        if None in row:
            raise FgvcError(f"cannot read {path}: line {line} has more values than the first line has names")
    return rows


def _read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read_text(path, newline=""), newline="")))


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not a text file in UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class MetricsFile:
    """metrics.csv: one row per epoch. Columns are added as they appear. The file is replaced atomically."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []

    def cut(self, epoch: int) -> None:
        """Read the file and keep only the rows before `epoch`, the epoch at which a run resumes."""
        if not lexists(self.path):
            return
        try:
            self.rows = [row for row in read_rows(self.path) if int(row["epoch"]) < epoch]
        except FgvcError as error:
            raise FgvcError(f"{error}: correct or remove the file, which only records the epochs") from None
        self._write()

    def append(self, row: Mapping[str, Any]) -> None:
        """Add an epoch's row. Floats are written with full precision."""
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
    """The rows of a metrics.csv as numbers, and the problems of the file, one line each.

    Rows without a readable epoch and values that are not finite numbers are left out; the rest is still useful. Rows
    are sorted by epoch. If two rows have the same epoch, the later one is used.
    """
    try:
        read = _read(path)
    except FileNotFoundError:
        return [], [f"there is no {path.name}: no epoch has been finished yet, or the file has been removed"]
    except (OSError, ValueError, csv.Error) as error:
        return [], [f"{path.name} cannot be read: {_reason(error)}"]
    rows = [_numbers(row) for row in read]
    whole = {row["epoch"]: row for row in rows if "epoch" in row}
    short = sum("epoch" not in row or len(row) < len(given) for row, given in zip(rows, map(_given, read), strict=True))
    damage = f"{path.name} is damaged: {short} of its {len(rows)} rows have values that are not numbers"
    return [whole[epoch] for epoch in sorted(whole)], [damage] if short else []


def _numbers(row: dict[str, str]) -> dict[str, float]:
    """The values of a row that are finite numbers."""
    found = {}
    for key, text in _given(row).items():
        with suppress(ValueError):
            found[key] = float(text)
    return {key: value for key, value in found.items() if math.isfinite(value)}


def _given(row: dict[str, Any]) -> dict[str, str]:
    """The values of a row that are not empty. For csv, surplus values have the key None, missing values are None."""
    return {str(key): str(text) for key, text in row.items() if text not in ("", None)}


class Events:
    """TensorBoard scalars. Values that a killed run wrote from `first_step` on, where it resumes, are hidden.

    The records are written by the thread that calls. PyTorch's SummaryWriter has a thread of its own, which prints a
    traceback if the folder vanishes, and whose errors reach the caller late or never.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = Event
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_NUMBERS)}"
        make_folder(folder)
        with explained(str(folder)):
            self._writer = RecordWriter((folder / name).open("wb"))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if first_step:
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=first_step, session_log=start))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write name → value at an optimizer step."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(self._event(wall_time=time.time(), step=step, summary=Summary(value=found)))

    def _write(self, event: Event) -> None:
        with explained("the TensorBoard events"):
            self._writer.write(event.SerializeToString())
            self._writer.flush()

    def close(self) -> None:
        """Close the file. A full disk is ignored here: more important files report it."""
        with suppress(OSError):
            self._writer.close()


_NUMBERS = itertools.count()  # of the event files of this process


@dataclass(frozen=True)
class Journal:
    """The records of a run. All processes but the main one have a Journal without files, which writes nothing."""

    metrics: MetricsFile | None = None
    events: Events | None = None
    tracking: Tracking | None = None

    def row(self, row: Mapping[str, Any]) -> None:
        """Add an epoch's row to metrics.csv."""
        if self.metrics is not None:
            self.metrics.append(row)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write name → value at an optimizer step."""
        if self.events is not None:
            self.events.scalars(values, step)
        if self.tracking is not None:
            self.tracking.scalars(values, step)

    def pictures(self, files: Mapping[str, Path], step: int) -> None:
        """Send pictures, name → PNG file, to the tracker; they lie in the run's folder anyway."""
        if self.tracking is not None and files:
            self.tracking.pictures(files, step)
