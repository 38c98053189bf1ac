"""The number of cores, and the number of threads that PyTorch's operations use."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from fgvc_cli.errors import FgvcError


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(count: int) -> None:
    """FgvcError if the system does not allow so many threads: OpenMP would end the program with a line of its own."""
    enough = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count - 1):
            thread = threading.Thread(target=enough.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        allowed = len(started) + 1
        raise FgvcError(
            f"the system allows {allowed} of {count} threads: use --set train.threads={max(1, allowed // 2)}, or raise "
            "its limit (ulimit -u, ulimit -v, a container's --pids-limit)"
        ) from None
    finally:
        enough.set()
        for thread in started:
            thread.join()


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
