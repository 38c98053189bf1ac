"""What a run records while it trains: metrics.csv, one row per epoch, and TensorBoard events."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgvc_cli.errors import FgvcError
from fgvc_cli.files import explained, write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class MetricsFile:
    """metrics.csv: one row per epoch. Columns are added as they appear. The file is replaced atomically."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []

    def cut(self, epoch: int) -> None:
        """Read the file and keep only the rows before `epoch`, the epoch at which a run resumes."""
        if not self.path.exists():
            return
        try:
            rows = list(csv.DictReader(io.StringIO(self.path.read_text(encoding="utf-8"))))
            self.rows = [row for row in rows if int(row["epoch"]) < epoch]
        except (OSError, ValueError, KeyError) as error:
            raise FgvcError(f"cannot read {self.path}: {error}") from None
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
        with path.open(encoding="utf-8", newline="") as file:
            read = list(csv.DictReader(file))
    except FileNotFoundError:
        return [], [f"there is no {path.name}: no epoch has been finished yet, or the file has been removed"]
    except (OSError, ValueError, csv.Error) as error:
        return [], [f"{path.name} cannot be read: {error}"]
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
    """TensorBoard scalars. Values that a killed run wrote from `first_step` on, where it resumes, are hidden."""

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
        """Flush and close the file. A full disk is ignored here: more important files report it."""
        with suppress(OSError):
            self.writer.close()


@dataclass(frozen=True)
class Journal:
    """The records of a run. All processes but the main one have a Journal without files, which writes nothing."""

    metrics: MetricsFile | None = None
    events: Events | None = None

    def row(self, row: Mapping[str, Any]) -> None:
        """Add an epoch's row to metrics.csv."""
        if self.metrics is not None:
            self.metrics.append(row)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write TensorBoard scalars at an optimizer step."""
        if self.events is not None:
            self.events.scalars(values, step)
