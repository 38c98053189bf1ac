"""Where a run computes: device, precision, threads, and the allocator under CPU tensors."""

from __future__ import annotations

import ctypes
import platform
from contextlib import AbstractContextManager

import torch

from fgvc_cli.engine.distributed import own_device
from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.crowd import yield_to_others
from fgvc_cli.spec.train import TrainSpec

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def resolve_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA, then MPS, then the CPU. BadRequest where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadRequest("--device cuda: PyTorch finds no CUDA device here; use --device cpu, or auto")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise BadRequest(f"--device {name}: there are only {torch.cuda.device_count()} CUDA devices, counted from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BadRequest("--device mps: PyTorch finds no Apple GPU here; use --device cpu, or auto")
    return device


def prepare_device(spec: TrainSpec) -> torch.device:
    """Resolve the device and set threads, allocator, determinism and what CUDA may choose as the spec says."""
    device = own_device(resolve_device(spec.device))
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    if device.type == "cpu":
        keep_freed_memory()
        yield_to_others()
    torch.use_deterministic_algorithms(spec.deterministic, warn_only=True)
    if device.type == "cuda":
        _prepare_cuda(spec)
    return device


def _prepare_cuda(spec: TrainSpec) -> None:
    # A step always has the same shapes, so that trying cuDNN's algorithms once pays; two runs may choose differently.
    torch.backends.cudnn.benchmark = not spec.deterministic
    # The older of PyTorch's two ways to say so: Inductor still asks for it, and mixing both is an error there.
    torch.set_float32_matmul_precision("high" if spec.tf32 else "highest")
    if torch.backends.cudnn.allow_tf32 != spec.tf32:
        torch.backends.cudnn.allow_tf32 = spec.tf32


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Mixed precision for forward passes; a no-op for fp32."""
    return torch.autocast(device.type, dtype=_DTYPES[precision], enabled=precision != "fp32")


def grad_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Loss scaling, which only fp16 needs."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def keep_freed_memory() -> None:
    """Tell glibc to reuse large freed blocks instead of returning them to the system.

    Activations are freed and asked for again every step; with glibc's defaults the page faults of that cost as much
    as the convolutions (docs/performance.md).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            libc.mallopt(option, 2**31 - 1)
