"""Which operations a step spends its time in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from fgvc_cli.files import write_atomically

STEPS = 3  # that are recorded
_MOST = 10


@dataclass(frozen=True)
class Operation:
    """An operation of PyTorch, over the recorded steps: its own time, without that of the operations it calls."""

    name: str
    calls: int
    seconds: float
    share: float  # of all operations' own time, 0..1


def record(step: Callable[[], object], device: torch.device, file: Path) -> list[Operation]:
    """Write a trace of some steps, as chrome://tracing and Perfetto read it; the dearest operations, dearest first.

    Times are the GPU's where there is one, else the CPU's. FgvcError where the trace cannot be written; then there
    is none.
    """
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities, acc_events=True) as seen:
        for _ in range(STEPS):
            step()
        if cuda:
            torch.cuda.synchronize(device)
    write_atomically(file, lambda temporary: seen.export_chrome_trace(str(temporary)))
    found = [  # kernels have rows of their own, whose time is that of the operations that started them
        (row.key, row.count, (row.self_device_time_total if cuda else row.self_cpu_time_total) / 1e6)
        for row in seen.key_averages()
        if row.device_type.name == "CPU"
    ]
    total = sum(seconds for _, _, seconds in found) or 1.0
    dearest = sorted(found, key=lambda row: -row[2])[:_MOST]
    return [Operation(name, calls, seconds, seconds / total) for name, calls, seconds in dearest]
