"""Times whose sums are known by hand, from a clock that the test moves."""

from __future__ import annotations

import pytest
import torch

from fgvc_cli.bench.rounds import Stopwatch, in_turns, timed

CPU = torch.device("cpu")


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_steps_one_after_the_other() -> None:
    clock, durations = Clock(), iter([0.5, 2.0, 1.0])

    def step() -> None:
        clock.now += next(durations)

    assert timed(step, 3, Stopwatch(CPU, clock)) == (0.5, 2.0, 1.0)


def test_ways_of_any_value_take_turns_and_the_first_round_is_dropped() -> None:
    clock, calls = Clock(), []

    def way(name: str, seconds: float):
        def step() -> None:
            calls.append(name)
            clock.now += seconds * (10 if len(calls) <= 4 else 1)  # cold

        return lambda: timed(step, 2, Stopwatch(CPU, clock))

    found = in_turns({"plain": way("plain", 1.0), "other": way("other", 3.0)}, 2, lambda *_: None)
    assert calls == ["plain", "plain", "other", "other"] * 3
    assert found == {"plain": ((1.0, 1.0),) * 2, "other": ((3.0, 3.0),) * 2}


@pytest.mark.gpu
def test_a_gpu_is_timed_without_waiting_for_it() -> None:
    device = torch.device("cuda")
    factor = torch.randn(4096, 4096, device=device)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    watch = Stopwatch(device)
    try:
        watch.mark()
        for _ in range(3):
            factor @ factor
            watch.mark()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    laps = watch.laps()
    assert len(laps) == 3
    assert min(laps) > 1e-4  # 137 G operations
