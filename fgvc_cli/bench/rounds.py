"""Several ways of doing the same, timed in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Progress = Callable[[str, int, int], object]  # what is going on, steps done, steps in all


@dataclass(frozen=True)
class Rates:
    """Images a second of one way, a number a round."""

    rounds: tuple[float, ...]

    @property
    def best(self) -> float:
        """Of the fastest round: what the way can do where nothing else disturbs it."""
        return max(self.rounds)

    @property
    def median(self) -> float:
        """Of the middle round."""
        return statistics.median(self.rounds)


def in_turns(ways: Mapping[str, Callable[[], float]], rounds: int, progress: Progress) -> dict[str, Rates]:
    """Call every way once to warm up, then all of them in each of the rounds, so that what else the machine does
    strikes all alike. A way returns its images a second."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    total = (rounds + 1) * len(ways)
    progress("measuring", 0, total)
    for turn in range(rounds + 1):
        for step, (name, way) in enumerate(ways.items(), start=1):
            rate = way()
            if turn:
                found[name].append(rate)
            progress("measuring", turn * len(ways) + step, total)
    return {name: Rates(tuple(rates)) for name, rates in found.items()}
