"""The measurements of each way, and the ratios computed from them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """The measurements of one way. Times are in seconds, memory in bytes."""

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
        """The steps of all rounds."""
        return tuple(step for steps in self.rounds for step in steps)

    @property
    def median(self) -> float:
        """The median of all steps."""
        return statistics.median(self.steps)

    @property
    def best(self) -> float:
        """The median step of the fastest round, which other work of the machine disturbed least."""
        return fastest(self.rounds)

    @property
    def rate(self) -> float:
        """Images per second at the median step."""
        return self.batch_size / self.median

    @property
    def files_share(self) -> float | None:
        """Images per second from files, divided by those of a constant batch; the best round of each."""
        return self.best / fastest(self.files) if self.files else None


@dataclass(frozen=True)
class Ratios:
    """A way's values divided by those of its plain backbone in the same rounds."""

    time: float  # of the best rounds
    multiply_adds: float
    median_time: float  # of the medians of all steps

    @property
    def disturbed(self) -> bool:
        """Whether the two time ratios differ by more than a sixth: too few rounds, given the machine's other work."""
        return not 6 / 7 < self.time / self.median_time < 7 / 6

    @property
    def efficiency(self) -> float:
        """1: each multiply-add takes as long as one of the plain backbone; below 1: longer."""
        return self.multiply_adds / self.time


@dataclass(frozen=True)
class Measured:
    """The ways that were timed in turns, the plain backbone first."""

    what: str  # train or infer
    steps: int  # per round
    rows: tuple[Row, ...]

    def ratios(self, row: Row) -> Ratios | None:
        """A row's ratios; None if the row or the plain backbone could not be measured."""
        plain = self.rows[0]
        if plain.trouble or row.trouble:
            return None
        times = row.best / plain.best, row.median / plain.median
        return Ratios(times[0], row.multiply_adds / plain.multiply_adds, times[1])

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON: all single times, and what the table shows."""
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
    """Quantiles with linear interpolation, NumPy's default."""
    return [float(value) for value in np.quantile(values, shares)]
