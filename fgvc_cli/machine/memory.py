"""Memory: its peak, how errors say that it ran out, how many worker processes fit into shared memory."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OUT_OF_MEMORY = "out of memory: use a smaller --batch-size or --image-size, or --precision bf16"
SHARED_MEMORY_FULL = "/dev/shm is full: use fewer --workers, 0 for none, or make it larger (docker run --shm-size=2g)"
_SHARED = Path("/dev/shm")
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
