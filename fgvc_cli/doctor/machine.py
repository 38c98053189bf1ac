"""The device, the processor, the disk and shared memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from fgvc_cli.data.catalog import cache_home
from fgvc_cli.doctor.check import Check, State
from fgvc_cli.machine.memory import shared_memory, workers_that_fit

_GIB = 2**30
_LITTLE = 2 * _GIB  # free bytes of a disk below which a run may end there
_BATCH = 16 * 448**2 * 3  # bytes of a batch of the papers' recipes


def device() -> Check:
    """What PyTorch computes on."""
    import torch

    from fgvc_cli.machine.device import resolve_device

    found = resolve_device("auto")
    if found.type == "cuda":
        about = torch.cuda.get_device_properties(0)
        value = torch.ones(2, device=found).sum().item()  # fails where the driver or the GPU is too old
        more = f", {torch.cuda.device_count()} of them" if torch.cuda.device_count() > 1 else ""
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "fp16, no bf16"
        text = f"{about.name}{more}, {about.total_memory / _GIB:.0f} GiB, CUDA {torch.version.cuda}, {bf16}"
        return Check("device", "ok" if value == 2 else "broken", text)
    if found.type == "mps":
        return Check("device", "ok", "an Apple GPU (mps)")
    if Path("/dev/nvidia0").exists():
        built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
        return Check("device", "note", f"cpu; there is an NVIDIA GPU, but PyTorch {built} and does not find it")
    return Check("device", "ok", "cpu (no GPU)")


def threads() -> Check:
    """Cores, and whether they are busy with something else."""
    import torch

    from fgvc_cli.machine.threads import check_threads, cores

    count = cores()
    check_threads(torch.get_num_threads())
    text = f"{count} cores, PyTorch uses {torch.get_num_threads()}"
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if busy > count:
        return Check("threads", "note", f"{text}; {busy:.1f} processes want them already, so all takes longer")
    return Check("threads", "ok", text)


def disk() -> list[Check]:
    """Room and permission to write, here and in the cache."""
    return [_room("disk", Path.cwd(), "for runs"), _room("cache", cache_home(), "for features and decoded images")]


def _room(name: str, folder: Path, use: str) -> Check:
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    free = shutil.disk_usage(there).free
    text = f"{free / _GIB:.1f} GiB free at {folder} ({use})"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        state: State = "broken" if name == "cache" else "note"  # --out may name another place than this
        return Check(name, state, f"{folder} cannot be written: {error.strerror}")
    return Check(name, "ok" if free > _LITTLE else "note", text if free > _LITTLE else f"{text}: that is little")


def shared() -> Check:
    """Shared memory, through which worker processes hand over batches."""
    free = shared_memory()
    if free is None:
        return Check("shared memory", "ok", "no limit")
    fit = workers_that_fit(64, _BATCH)
    text = f"{free / _GIB:.1f} GiB free in /dev/shm"
    if fit < 8:
        text += f": room for {fit} --workers with batches of 16 x 448 pixels; make it larger (docker run --shm-size=2g)"
    return Check("shared memory", "ok" if fit >= 8 else "note", text)
