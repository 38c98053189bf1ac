"""Memory: how it is allocated, its peak, how errors say that it ran out, how many worker processes fit into it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OUT_OF_MEMORY = "out of memory: use a smaller --batch-size or --image-size, or --precision bf16"
SHARED_MEMORY_FULL = "/dev/shm is full: use fewer --workers, 0 for none, or make it larger (docker run --shm-size=2g)"
_SHARED = Path("/dev/shm")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h
_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "unable to allocate")  # GPU, CPU, NumPy


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: that of a GPU, or that of the CPU as PyTorch, NumPy and the system say it."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _SIGNS)


def shared_memory() -> int | None:
    """Free bytes of the shared memory in which worker processes hand over batches; None if the system has no limit."""
    return shutil.disk_usage(_SHARED).free if _SHARED.is_dir() else None


def workers_that_fit(workers: int, batch: int) -> int:
    """The number of worker processes whose batches, of so many bytes each, fit into the shared memory, up to `workers`.

    A worker that exceeds it is killed in the middle of the training. Each prepares two batches; the main process holds
    two more.
    """
    free = shared_memory()
    return workers if free is None else max(0, min(workers, free // max(batch, 1) // 2 - 1))


def peak_memory(device: torch.device) -> float | None:
    """The most memory that this process has held, in MiB; None where the system does not tell.

    On CUDA: of the GPU, as counted by PyTorch's allocator. Elsewhere: of the machine, code and libraries included.
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def keep_freed_memory() -> None:
    """Tell glibc to reuse large freed blocks instead of returning them to the system.

    Activations are freed and allocated again in every step. With glibc's defaults, the page faults that this causes
    take as long as the convolutions (docs/performance.md).
    """
    for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        _tell_glibc(option, 2**31 - 1)


def share_one_heap() -> None:
    """Tell glibc that threads started from now on take memory where the first one does.

    The heaps that it makes for threads are too small for activations, so these would be returned to the system.
    """
    _tell_glibc(_M_ARENA_MAX, 1)


def _tell_glibc(option: int, value: int) -> None:
    """mallopt(3), where there is one."""
    try:
        here = bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):  # Windows, macOS, other C libraries
        return
    if here:
        import ctypes  # here, as most commands need none

        ctypes.CDLL(None).mallopt(option, value)
