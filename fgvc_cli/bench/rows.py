"""What was measured of each way, and what follows from it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """One way. Times in seconds, memory in bytes."""

    name: str
    method: str
    backbone: str
    image_size: int
    batch_size: int
    precision: str
    compiled: bool
    parameters: int
    multiply_adds: int  # of one image
    peak_memory: int | None = None
    rounds: tuple[tuple[float, ...], ...] = ()  # of each step, by round
    single: tuple[float, ...] = ()  # of each call with one image
    files: tuple[tuple[float, ...], ...] = ()  # of each step on images from files, by round
    trouble: str = ""  # why nothing was measured

    @property
    def steps(self) -> tuple[float, ...]:
        """Of all rounds."""
        return tuple(step for steps in self.rounds for step in steps)

    @property
    def median(self) -> float:
        """Of all steps."""
        return statistics.median(self.steps)

    @property
    def best(self) -> float:
        """The median step of the fastest round: what else the machine does disturbed that one least."""
        return fastest(self.rounds)

    @property
    def rate(self) -> float:
        """Images a second at the median step."""
        return self.batch_size / self.median

    @property
    def files_share(self) -> float | None:
        """Images a second from files over those of a batch that never changes, the best round of each."""
        return self.best / fastest(self.files) if self.files else None


@dataclass(frozen=True)
class Ratios:
    """A way beside its plain backbone of the same rounds."""

    time: float  # the best round of each
    multiply_adds: float
    median_time: float  # of all steps' medians

    @property
    def disturbed(self) -> bool:
        """Whether the two ratios of time differ by more than a sixth: too few rounds for what else was going on."""
        return not 6 / 7 < self.time / self.median_time < 7 / 6

    @property
    def efficiency(self) -> float:
        """1: each multiply-add takes as long as the plain backbone's; less: longer."""
        return self.multiply_adds / self.time


@dataclass(frozen=True)
class Measured:
    """What took turns together: the plain backbone first."""

    what: str  # train or infer
    steps: int  # a round
    rows: tuple[Row, ...]

    def ratios(self, row: Row) -> Ratios | None:
        """A row's; None where it or the plain one could not be measured."""
        plain = self.rows[0]
        if plain.trouble or row.trouble:
            return None
        times = row.best / plain.best, row.median / plain.median
        return Ratios(times[0], row.multiply_adds / plain.multiply_adds, times[1])

    def as_json(self) -> dict[str, Any]:
        """Plain values: all single times, and what the table shows."""
        return {"what": self.what, "steps": self.steps, "rows": [self._row(row) for row in self.rows]}

    def _row(self, row: Row) -> dict[str, Any]:
        told = asdict(row)
        if row.trouble:
            return told
        low, high = quantiles(row.steps, 0.1, 0.9)
        told["images_per_second"] = row.rate
        told["step_ms"] = {"median": 1000 * row.median, "p10": 1000 * low, "p90": 1000 * high, "best": 1000 * row.best}
        if row.single:
            middle, late = quantiles(row.single, 0.5, 0.99)
            told["latency_ms"] = {"p50": 1000 * middle, "p99": 1000 * late, "calls": len(row.single)}
        if row.files_share is not None:
            told["from_files"] = {"images_per_second": row.batch_size / fastest(row.files), "share": row.files_share}
        ratios = self.ratios(row)
        return told | ({} if ratios is None else _named(ratios))


def _named(ratios: Ratios) -> dict[str, float]:
    return {
        "time_ratio": ratios.time,
        "median_time_ratio": ratios.median_time,
        "multiply_adds_ratio": ratios.multiply_adds,
        "efficiency": ratios.efficiency,
    }


def fastest(rounds: Sequence[Sequence[float]]) -> float:
    """The smallest of the rounds' medians."""
    return min(statistics.median(steps) for steps in rounds)


def quantiles(values: Sequence[float], *shares: float) -> list[float]:
    """Between two values, in proportion (as NumPy's default)."""
    return [float(value) for value in np.quantile(values, shares)]
