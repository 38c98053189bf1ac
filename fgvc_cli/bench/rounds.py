"""Time several ways of doing the same in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

Progress = Callable[[str, int, int], object]  # name of the activity, steps done, total steps
T = TypeVar("T")


@dataclass(frozen=True)
class Rates:
    """Images per second of one way, in each round."""

    rounds: tuple[float, ...]

    @property
    def best(self) -> float:
        """The rate of the fastest round, which other work of the machine disturbed least."""
        return max(self.rounds)

    @property
    def median(self) -> float:
        """The median of all rounds."""
        return statistics.median(self.rounds)


def in_turns(
    ways: Mapping[str, Callable[[], T]], rounds: int, progress: Progress, what: str = "measuring"
) -> dict[str, tuple[T, ...]]:
    """Call every way once to warm up, then all of them in each round.

    So other work of the machine slows all ways alike. Returns the values of each way, one per round, without the
    warm-up's.
    """
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
    """Seconds between marks in the work of a device.

    On CUDA a mark is an event in the stream: the host does not wait before `laps`, so its work overlaps with the
    device's, as in training. On other devices the host waits for the device and reads its own clock.
    """

    def __init__(self, device: torch.device, now: Callable[[], float] = time.perf_counter) -> None:
        self.device = device
        self._now = now
        self._times: list[float] = []
        self._events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        """End one lap and begin the next."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self.device))
            self._events.append(event)
        else:
            wait(self.device)
            self._times.append(self._now())

    def laps(self) -> tuple[float, ...]:
        """Seconds of each lap. Waits for the device."""
        if self.device.type == "cuda":
            wait(self.device)
            pairs = zip(self._events, self._events[1:], strict=False)
            return tuple(start.elapsed_time(end) / 1000 for start, end in pairs)
        return tuple(end - start for start, end in zip(self._times, self._times[1:], strict=False))


def timed(step: Callable[[], object], steps: int, watch: Stopwatch) -> tuple[float, ...]:
    """Seconds of each of `steps` steps that follow each other without a pause."""
    wait(watch.device)
    watch.mark()
    for _ in range(steps):
        step()
        watch.mark()
    return watch.laps()


def waited(step: Callable[[], object], steps: int, device: torch.device) -> tuple[float, ...]:
    """Seconds from the call of each step to its result, on a device that is idle before: the latency."""
    found = []
    for _ in range(steps):
        wait(device)
        started = time.perf_counter()
        step()
        wait(device)
        found.append(time.perf_counter() - started)
    return tuple(found)


def wait(device: torch.device) -> None:
    """Wait until the device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
