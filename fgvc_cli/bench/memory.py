"""The peak memory of one way of computing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


class PeakMemory:
    """The peak bytes of a step of one way. What other ways keep in memory meanwhile is subtracted.

    On CUDA: as counted by PyTorch's allocator. On the CPU: the bytes of the tensors that outlive a step, plus what the
    step holds of PyTorch's allocator at its peak; scratch space that a library allocates for itself is not included.
    On other devices: unknown.

    Args:
        device: the device of the way.
        own: bytes that building the way allocated (`allocated` after minus before), before its first step.
    """

    def __init__(self, device: torch.device, own: int) -> None:
        self.device = device
        self.others = allocated(device) - own

    def of(self, step: Callable[[], object], lasting: Callable[[], Iterable[Tensor]]) -> int | None:
        """Peak bytes of one step; None if unknown. `lasting`: the tensors that exist before and after it."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            step()
            return torch.cuda.max_memory_allocated(self.device) - self.others
        if self.device.type == "cpu":
            return storage_bytes(lasting()) + allocated_at_peak(step)
        step()
        return None


def allocated(device: torch.device) -> int:
    """Bytes that are allocated on a GPU now; 0 on other devices.

    cuBLAS keeps a workspace for the whole process. It is allocated first, so that it is not counted for the first way.
    """
    if device.type != "cuda":
        return 0
    torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
    return torch.cuda.memory_allocated(device)


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Total bytes of the tensors; storage that several tensors share is counted once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def allocated_at_peak(step: Callable[[], object]) -> int:
    """The most bytes of PyTorch's CPU allocator that a step holds at the same time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        step()
    with tempfile.TemporaryDirectory(prefix="fgvc-bench-") as folder:
        file = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    found = [event for event in events if event.get("name") == "[memory]"]
    return _highest(sorted(found, key=lambda event: float(event["ts"])))


def _highest(events: list[dict[str, Any]]) -> int:
    """The highest sum of memory events, sorted by time. Freed memory that was allocated before them is ignored."""
    taken: dict[int, int] = {}
    now = highest = 0
    for event in events:
        about = event["args"]
        if about["Device Type"] != 0:
            continue
        if about["Bytes"] > 0:
            taken[about["Addr"]] = about["Bytes"]
            now += about["Bytes"]
        else:
            now -= taken.pop(about["Addr"], 0)
        highest = max(highest, now)
    return highest
