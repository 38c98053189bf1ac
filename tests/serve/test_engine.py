"""One queue: bounded, in order, alike jobs together, and no job's failure is another's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from fgvc_cli.serve.engine import Engine, Work
from fgvc_cli.serve.problems import BUSY, LATE, Problem


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(places=3, seconds=5)
    yield engine
    engine.close()


def held_up(engine: Engine, then: Callable[[], Awaitable[Any]]) -> Any:
    """Run `then` while the engine's thread is busy with a first job, which then ends."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(items: Sequence[int]) -> list[int]:
        begun.set()
        assert go_on.wait(5)
        return list(items)

    async def all_of_it() -> Any:
        first = asyncio.create_task(engine.run(Work(wait), 0))
        await asyncio.to_thread(begun.wait, 5)
        later = asyncio.ensure_future(then())
        await asyncio.sleep(0.05)
        go_on.set()
        await first
        return await later

    return asyncio.run(all_of_it())


def test_alike_jobs_are_done_together_within_number_and_weight(engine: Engine) -> None:
    seen: list[list[int]] = []

    def double(items: Sequence[int]) -> list[int]:
        seen.append(list(items))
        return [2 * item for item in items]

    work = Work(double, most=3, most_weight=10)
    jobs = [(1, 4), (2, 4), (3, 4), (4, 1), (5, 99), (6, 1), (7, 1)]

    async def ask() -> list[int]:
        return await asyncio.gather(*(engine.run(work, item, weight) for item, weight in jobs))

    assert held_up(engine, ask) == [2, 4, 6, 8, 10, 12, 14]
    assert seen == [[1, 2, 4], [3, 6, 7], [5]]


def test_one_that_fails_does_not_fail_the_others(engine: Engine) -> None:
    def divide(items: Sequence[int]) -> list[float]:
        return [1 / item for item in items]

    work = Work(divide, most=8, most_weight=0)

    async def ask() -> list[Any]:
        return await asyncio.gather(*(engine.run(work, item) for item in (1, 0, 2)), return_exceptions=True)

    found = held_up(engine, ask)
    assert found[::2] == [1, 0.5]
    assert isinstance(found[1], ZeroDivisionError)
    assert asyncio.run(engine.run(work, 4)) == 0.25


def test_places_are_bounded_and_given_back(engine: Engine) -> None:
    with engine.place(), engine.place(), engine.place(), pytest.raises(Problem) as refused, engine.place():
        pass
    assert refused.value.status == BUSY
    with engine.place():
        pass


def test_what_waits_too_long_is_dropped() -> None:
    engine, done = Engine(places=3, seconds=0.1), list[int]()
    stuck = threading.Event()

    def slow(items: Sequence[int]) -> list[int]:
        stuck.wait(5)
        return list(items)

    async def ask() -> list[Any]:
        quick: Work[int, None] = Work(lambda items: [done.append(item) for item in items])
        return await asyncio.gather(engine.run(Work(slow), 0), engine.run(quick, 1), return_exceptions=True)

    found = asyncio.run(ask())
    assert [problem.status for problem in found] == [LATE, LATE]
    stuck.set()
    engine.close()
    assert done == []


def test_closed_it_takes_nothing_on(engine: Engine) -> None:
    engine.close()
    with pytest.raises(Problem, match="stopping"):
        asyncio.run(engine.run(Work(list), 1))
