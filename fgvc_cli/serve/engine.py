"""One thread that runs the model: jobs wait in one queue of bounded length, and alike ones are done together."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from fgvc_cli.serve.problems import BUSY, LATE, Problem

Item = TypeVar("Item")
Result = TypeVar("Result")
_SECONDS_TO_END = 5.0  # for the job that runs when the server stops


@dataclass(frozen=True, eq=False)
class Work(Generic[Item, Result]):
    """A kind of job: what does several of them at once, in order, and how many."""

    run: Callable[[Sequence[Item]], Sequence[Result]]
    most: int = 1
    most_weight: int = 0  # greatest sum of their weights, unless a single one has more


@dataclass(eq=False)
class _Job:
    work: Work[Any, Any]
    item: Any
    weight: int
    future: Future[Any] = field(default_factory=Future)


class Engine:
    """Runs jobs one after another in a thread of its own.

    Args:
        places: requests that may wait or be worked on at the same time.
        seconds: until a request that still waits is given up.
    """

    def __init__(self, places: int, seconds: float) -> None:
        self._free, self._seconds = places, seconds
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work_off, name="model", daemon=True)
        self._thread.start()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places, from before a request's body is read. Problem if none is free.

        For the event loop's thread only.
        """
        if self._free <= 0:
            raise Problem("too many requests are waiting: try again in a moment", BUSY)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    async def run(self, work: Work[Item, Result], item: Item, weight: int = 0) -> Result:
        """The result for one item; whatever the work raises is raised here.

        Problem if it takes too long: a job that has not begun is dropped then.
        """
        job = _Job(work, item, weight)
        with self._changed:
            if self._closed:
                raise Problem("the server is stopping", LATE)
            self._jobs.append(job)
            self._changed.notify()
        try:
            async with asyncio.timeout(self._seconds):
                result: Result = await asyncio.wrap_future(job.future)
                return result
        except TimeoutError:
            raise Problem(f"no answer within {self._seconds:g} seconds: try again later", LATE) from None

    def close(self) -> None:
        """End the thread after the job that it is doing; jobs that wait are cancelled."""
        with self._changed:
            self._closed = True
            for job in self._jobs:
                job.future.cancel()
            self._jobs.clear()
            self._changed.notify()
        self._thread.join(_SECONDS_TO_END)

    def _work_off(self) -> None:
        while jobs := self._next():
            alive = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if alive:
                _do(alive)

    def _next(self) -> list[_Job]:
        """The oldest job, and those alike that can be done with it; waits for one. Empty when closed."""
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            if self._closed:
                return []
            first = self._jobs.popleft()
            chosen, weight = [first], first.weight
            for job in list(self._jobs):
                fits = weight + job.weight <= first.work.most_weight
                if job.work is first.work and fits and len(chosen) < first.work.most:
                    chosen.append(job)
                    weight += job.weight
                    self._jobs.remove(job)
            return chosen


def _do(jobs: Sequence[_Job]) -> None:
    """Do jobs together; if that fails, each alone, so that one does not fail for another."""
    try:
        results = jobs[0].work.run([job.item for job in jobs])
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].future.set_exception(error)
            return
        for job in jobs:
            _do([job])
        return
    for job, result in zip(jobs, results, strict=True):
        job.future.set_result(result)
