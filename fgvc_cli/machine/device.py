"""Device, precision and threads of a run, and the memory allocator for CPU tensors."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import torch

from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.contention import yield_to_others
from fgvc_cli.machine.distributed import own_device
from fgvc_cli.machine.memory import keep_freed_memory, share_one_heap
from fgvc_cli.machine.threads import check_threads

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class DeviceChoice(Protocol):
    """What a run may choose about its device: the fields of the same names in `spec.train`."""

    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def threads(self) -> int | None: ...  # noqa: D102
    @property
    def deterministic(self) -> bool: ...  # noqa: D102
    @property
    def tf32(self) -> bool: ...  # noqa: D102


def resolve_device(name: str) -> torch.device:
    """The device of that name. `auto` is the first available of CUDA, MPS, CPU. BadRequest if it does not exist."""
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


def prepare_device(choice: DeviceChoice) -> torch.device:
    """Resolve the device and set threads, allocator, determinism and CUDA's options as chosen."""
    device = own_device(resolve_device(choice.device))
    if choice.threads is not None:
        torch.set_num_threads(choice.threads)
    if device.type == "cpu":
        share_one_heap()
        keep_freed_memory()
    check_threads(torch.get_num_threads())
    if device.type == "cpu":
        yield_to_others()
    torch.use_deterministic_algorithms(choice.deterministic, warn_only=True)
    if device.type == "cuda":
        _prepare_cuda(choice)
    return device


def _prepare_cuda(choice: DeviceChoice) -> None:
    # All steps have the same shapes, so benchmarking cuDNN's algorithms once pays off. Two runs may choose differently.
    torch.backends.cudnn.benchmark = not choice.deterministic
    # This is the older of PyTorch's two interfaces. Inductor still reads it, and mixing both is an error there.
    torch.set_float32_matmul_precision("high" if choice.tf32 else "highest")
    if torch.backends.cudnn.allow_tf32 != choice.tf32:
        torch.backends.cudnn.allow_tf32 = choice.tf32


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The autocast context for forward passes; it does nothing for fp32."""
    return torch.autocast(device.type, dtype=_DTYPES[precision], enabled=precision != "fp32")


def grad_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """The gradient scaler; it is enabled only for fp16, which alone needs loss scaling."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
