"""Several processes as one run: torchrun starts them, PyTorch's DistributedDataParallel averages their gradients.

A run of many processes computes the same as a run of one process: `train.batch_size` is the number of images in a step
over all processes. Only the main process (rank 0) writes files and prints.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.values import natural

if TYPE_CHECKING:  # a single process asks who else is there without PyTorch
    import torch
    from torch import Tensor, nn

T = TypeVar("T")
M = TypeVar("M", bound="nn.Module")


@dataclass(frozen=True)
class World:
    """The processes of a run, and which of them this process is."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # rank among the processes of this machine

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0


def world() -> World:
    """The processes of the process group; outside `joined`, only this one."""
    if "torch" not in sys.modules:
        return World()
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return World()
    return World(dist.get_rank(), dist.get_world_size(), launched().local_rank)


def launched() -> World:
    """What torchrun's environment variables say about this process; without torchrun, a single process."""
    return World(*(_number(name, os.environ.get(name, default)) for name, default in _VARIABLES))


def _number(name: str, text: str) -> int:
    try:
        return natural(text)
    except ValueError as error:
        raise BadRequest(f"environment variable {name}: {error}") from None


_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))


@contextmanager
def joined(minutes: float) -> Iterator[World]:
    """Inside this context, the processes that torchrun started form a process group. A single process needs none.

    Args:
        minutes: how long a process waits for the others before it fails.
    """
    if launched().size == 1 or world().size > 1:
        yield world()
        return
    import torch
    import torch.distributed as dist

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(min(launched().local_rank, torch.cuda.device_count() - 1))
    limit = timedelta(minutes=minutes)
    store, rank, size = next(dist.rendezvous("env://", timeout=limit))  # type: ignore[attr-defined]
    # torchrun's store survives a restart. Without a prefix per attempt, a process would find addresses of ended ones.
    name = f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    attempt = dist.PrefixStore(name, store)  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=attempt, rank=rank, world_size=size, timeout=limit)
    try:
        yield world()
    finally:
        dist.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """The device of this process: with several processes on CUDA, the GPU whose index is the local rank.

    BadRequest if there are too few GPUs.
    """
    here = world()
    if here.size == 1 or device.type != "cuda":
        return device
    import torch

    if here.local_rank >= torch.cuda.device_count():
        raise BadRequest(
            f"process {here.local_rank} of this machine has no GPU of its own (GPUs here: "
            f"{torch.cuda.device_count()}): start torchrun with --nproc-per-node {torch.cuda.device_count()}"
        )
    return torch.device("cuda", here.local_rank)


def total(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes; every process gets it."""
    if world().size == 1:
        return value
    import torch.distributed as dist

    summed = value.detach().clone()
    dist.all_reduce(summed)
    return summed


def gathered(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks; every process gets them."""
    here = world()
    if here.size == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * here.size
    dist.all_gather_object(values, value)
    return values


def on_main(work: Callable[[], T]) -> T:
    """Call `work` in the main process only; every process gets its result, or raises its FgvcError."""
    if world().size == 1:
        return work()
    import torch.distributed as dist

    answer: list[Any] = [None, None]
    if world().main:
        try:
            answer[0] = work()
        except FgvcError as error:
            answer[1] = error
    dist.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        raise answer[1]
    return cast(T, answer[0])


def together(step: nn.Module, device: torch.device, *, accumulate: int) -> nn.Module:
    """The step module (forward and losses), wrapped so that its gradients are averaged over the processes.

    With one process it is returned unchanged. Buffers (BatchNorm's statistics) are those of the main process, which
    every checkpoint holds.
    """
    if world().size == 1:
        return step
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(
        step,
        device_ids=[device.index] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        static_graph=accumulate == 1,  # it cannot be combined with no_sync
    )


def shared_statistics(module: M, device: torch.device) -> M:
    """The module with SyncBatchNorm, whose statistics are over the images of all processes.

    With one process the module is returned unchanged. BadRequest on the CPU, where PyTorch has no such layer.
    """
    if world().size == 1:
        return module
    if device.type != "cuda":
        raise BadRequest("train.sync_batchnorm needs GPUs: leave it out on the CPU")
    from torch import nn

    converted: M = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted


def quiet(step: nn.Module, *, complete: bool) -> AbstractContextManager[object]:
    """A context for the forward and backward pass of a batch.

    Gradients are exchanged only if the batch completes (`complete`) the batches accumulated for an optimizer step.
    """
    from torch.nn.parallel import DistributedDataParallel

    if complete or not isinstance(step, DistributedDataParallel):
        return nullcontext()
    return step.no_sync()


def share_buffers(module: nn.Module) -> None:
    """Copy the main process's buffers to all processes: each process updated them from its own images."""
    if world().size > 1:
        import torch.distributed as dist

        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
