"""The most memory that one way of computing takes."""

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
    """Of one way: the bytes at the peak of a step. What others keep meanwhile, which stand still, is taken off.

    On CUDA as its allocator counts them. On the CPU the bytes of the tensors that outlive a step, and on top of them
    what the step asks PyTorch's allocator for and has not given back; scratch space that a library allocates for
    itself is in neither. Elsewhere nobody tells.

    Args:
        device: where it is.
        own: bytes that building it took (`allocated` after less before); its steps begin after this.
    """

    def __init__(self, device: torch.device, own: int) -> None:
        self.device = device
        self.others = allocated(device) - own

    def of(self, step: Callable[[], object], lasting: Callable[[], Iterable[Tensor]]) -> int | None:
        """Bytes at the peak of one step. `lasting`: the tensors that are there before and after it."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            step()
            return torch.cuda.max_memory_allocated(self.device) - self.others
        if self.device.type == "cpu":
            return storage_bytes(lasting()) + allocated_at_peak(step)
        step()
        return None


def allocated(device: torch.device) -> int:
    """Bytes that are given out on a GPU now; 0 elsewhere.

    cuBLAS keeps some for the whole process: they are asked for first, else they would be those of the first way.
    """
    if device.type != "cuda":
        return 0
    torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
    return torch.cuda.memory_allocated(device)


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes that tensors take together, what several share counted once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def allocated_at_peak(step: Callable[[], object]) -> int:
    """Bytes that a step takes from PyTorch's CPU allocator and holds at the same time, at most."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        step()
    with tempfile.TemporaryDirectory(prefix="fgvc-bench-") as folder:
        file = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    found = [event for event in events if event.get("name") == "[memory]"]
    return _highest(sorted(found, key=lambda event: float(event["ts"])))


def _highest(events: list[dict[str, Any]]) -> int:
    """The highest sum of memory events in order of time. What is freed and was not taken meanwhile does not count."""
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
