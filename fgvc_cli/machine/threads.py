"""The number of cores, and the number of threads that PyTorch's operations use."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fgvc_cli.errors import FgvcError

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(count: int) -> None:
    """FgvcError if the system does not allow so many threads: OpenMP would end the program with a line of its own."""
    enough = threading.Event()
    started: list[threading.Thread] = []
    pools = 2 if _limited_memory() else 1  # a backward pass has as many threads of its own, which need stacks too
    try:
        for _ in range(pools * (count - 1)):
            thread = threading.Thread(target=enough.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        allowed = len(started) // pools + 1
        raise FgvcError(
            f"the system allows {allowed} of {count} threads: use --set train.threads={max(1, allowed // 2)}, or raise "
            "its limit (ulimit -u, ulimit -v, a container's --pids-limit)"
        ) from None
    finally:
        enough.set()
        for thread in started:
            thread.join()


def _limited_memory() -> bool:
    """Whether this process has a limit of address space (ulimit -v)."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Inside this context, PyTorch's operations use this many threads; None: as many as before.

    Dividing one small image among threads takes up to 5 times as long. Threads started inside the context keep its
    number.
    """
    import torch  # here, as reading images for an exported model needs none

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)  # also called for None: the call itself may change BLAS's later behaviour
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_lanes(do: Callable[[T], R], items: Iterable[T], lanes: int) -> Iterator[tuple[T, R]]:
    """Each item and what `do` gives of it, in order; so many at once, each with its share of PyTorch's threads.

    The threads of one operation wait for the slowest, so whatever else takes a core for a moment stops them all.
    Threads with an operation each do not wait. Of `items`, at most `lanes` + 1 are taken in advance.
    """
    if lanes == 1:
        for item in items:
            yield item, do(item)
        return
    import torch  # as above

    waiting: deque[tuple[T, Future[R]]] = deque()
    with torch_threads(max(1, torch.get_num_threads() // lanes)), ThreadPoolExecutor(lanes) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(do, item)))
                if len(waiting) > lanes:
                    first, found = waiting.popleft()
                    yield first, found.result()
            while waiting:
                first, found = waiting.popleft()
                yield first, found.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
