"""Several ways of doing the same, timed in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

Progress = Callable[[str, int, int], object]  # what is going on, steps done, steps in all
T = TypeVar("T")


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


def in_turns(
    ways: Mapping[str, Callable[[], T]], rounds: int, progress: Progress, what: str = "measuring"
) -> dict[str, tuple[T, ...]]:
    """Call every way once to warm up, then all of them in each of the rounds, so that what else the machine does
    strikes all alike. What each way returned, a value a round; the first call's is dropped."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    total = (rounds + 1) * len(ways)
    progress(what, 0, total)
    for turn in range(rounds + 1):
        for step, (name, way) in enumerate(ways.items(), start=1):
            value = way()
            if turn:
                found[name].append(value)
            progress(what, turn * len(ways) + step, total)
    return {name: tuple(values) for name, values in found.items()}


class Stopwatch:
    """Seconds between marks in what a device does.

    On CUDA a mark is an event in the stream: the host neither waits nor reads before `laps`, so that what the host
    does beside the device's work costs nothing, as in training. Elsewhere the host's clock is the device's.
    """

    def __init__(self, device: torch.device, now: Callable[[], float] = time.perf_counter) -> None:
        self.device = device
        self._now = now
        self._times: list[float] = []
        self._events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        """Here one lap ends and the next begins."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self.device))
            self._events.append(event)
        else:
            wait(self.device)
            self._times.append(self._now())

    def laps(self) -> tuple[float, ...]:
        """Seconds of each; waits for the device."""
        if self.device.type == "cuda":
            wait(self.device)
            pairs = zip(self._events, self._events[1:], strict=False)
            return tuple(start.elapsed_time(end) / 1000 for start, end in pairs)
        return tuple(end - start for start, end in zip(self._times, self._times[1:], strict=False))


def timed(step: Callable[[], object], steps: int, watch: Stopwatch) -> tuple[float, ...]:
    """Seconds of each of so many steps, one right after the other."""
    wait(watch.device)
    watch.mark()
    for _ in range(steps):
        step()
        watch.mark()
    return watch.laps()


def waited(step: Callable[[], object], steps: int, device: torch.device) -> tuple[float, ...]:
    """Seconds that whoever wants each result waits for it: the device has nothing else to do meanwhile."""
    found = []
    for _ in range(steps):
        wait(device)
        started = time.perf_counter()
        step()
        wait(device)
        found.append(time.perf_counter() - started)
    return tuple(found)


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
