"""Work in lanes: in order, side by side, each with its share of PyTorch's threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from fgvc_cli.machine.threads import in_lanes


@pytest.fixture(autouse=True)
def six_threads() -> Iterator[None]:
    """PyTorch uses six threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("lanes", "each"), [(1, 6), (2, 3), (3, 2), (4, 1), (9, 1)])
def test_in_order_with_a_share_of_the_threads(lanes: int, each: int) -> None:
    found = list(in_lanes(lambda item: (item * item, torch.get_num_threads()), range(20), lanes))
    assert found == [(item, (item * item, each)) for item in range(20)]
    assert torch.get_num_threads() == 6


def test_side_by_side() -> None:
    """Each waits for the other: one alone would wait for ever."""
    meeting = threading.Barrier(2, timeout=30)
    assert [item for item, _ in in_lanes(lambda item: meeting.wait(), range(8), 2)] == list(range(8))


def test_few_are_taken_in_advance() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(20):
            taken.append(item)
            yield item

    for item, _ in in_lanes(abs, items(), 3):
        assert len(taken) <= item + 4


@pytest.mark.parametrize("lanes", [1, 3])
def test_an_error_is_raised_and_ends_it(lanes: int) -> None:
    def fail(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        return item

    found = []
    with pytest.raises(ValueError, match="five"):
        found += (item for item, _ in in_lanes(fail, range(20), lanes))
    assert torch.get_num_threads() == 6


def test_whoever_stops_early_has_all_threads_again() -> None:
    running = in_lanes(abs, range(20), 2)
    assert next(running) == (0, 0)
    running.close()
    assert torch.get_num_threads() == 6
