"""How many cores there are, and how many of them PyTorch's operations may use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Runs with this many threads, None: as they are. Splitting one small image over threads costs up to 5 times.

    Threads started within it have that number for good.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)  # set in either case: setting alone may change what BLAS does later
    try:
        yield
    finally:
        torch.set_num_threads(before)
