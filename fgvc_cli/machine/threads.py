"""The number of cores, and the number of threads that PyTorch's operations use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Inside this context, PyTorch's operations use this many threads; None: as many as before.

    Dividing one small image among threads takes up to 5 times as long. Threads started inside the context keep its
    number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)  # also called for None: the call itself may change BLAS's later behaviour
    try:
        yield
    finally:
        torch.set_num_threads(before)
