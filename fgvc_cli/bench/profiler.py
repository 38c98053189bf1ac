"""The operations in which a step spends most of its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from fgvc_cli.files import make_parent, write_atomically

STEPS = 3  # recorded by the profiler
_MOST = 10  # operations that are returned


@dataclass(frozen=True)
class Operation:
    """A PyTorch operation over the recorded steps. Its time excludes that of the operations it calls."""

    name: str
    calls: int
    seconds: float
    share: float  # of all operations' own time, 0..1


def record(step: Callable[[], object], device: torch.device, file: Path) -> list[Operation]:
    """Write a profiler trace of STEPS steps for chrome://tracing or Perfetto; return the most expensive operations.

    Times are those of the GPU if there is one, else of the CPU; the most expensive operation comes first. FgvcError
    if the trace cannot be written; then no file is left.
    """
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities, acc_events=True) as seen:
        for _ in range(STEPS):
            step()
        if cuda:
            torch.cuda.synchronize(device)
    make_parent(file)
    write_atomically(file, lambda temporary: seen.export_chrome_trace(str(temporary)))
    found = [  # only operations: the time of a kernel's own row is already that of the operation that launched it
        (row.key, row.count, (row.self_device_time_total if cuda else row.self_cpu_time_total) / 1e6)
        for row in seen.key_averages()
        if row.device_type.name == "CPU"
    ]
    total = sum(seconds for _, _, seconds in found) or 1.0
    dearest = sorted(found, key=lambda row: -row[2])[:_MOST]
    return [Operation(name, calls, seconds, seconds / total) for name, calls, seconds in dearest]
