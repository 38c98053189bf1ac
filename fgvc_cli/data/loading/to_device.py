"""Moves batches to their device in advance, and normalises them there."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from fgvc_cli.data.types import Batch


def ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches on `device`. Each is copied to a GPU while the GPU computes with the one before."""
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    coming: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(copies):
            started = batch.to(device), copies.record_event()
        if coming is not None:
            yield _arrived(*coming)
        coming = started
    if coming is not None:
        yield _arrived(*coming)


def _arrived(batch: Batch, copied: torch.cuda.Event) -> Batch:
    """The batch, ready for operations queued on the device from now on. The host does not wait."""
    stream = torch.cuda.current_stream(batch.labels.device)
    stream.wait_event(copied)
    for value in vars(batch).values():
        if value is not None:
            value.record_stream(stream)  # so that its memory is not reused before this stream has used it
    return batch


def normalising(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Shift to subtract from 0..255 and scale to multiply by, (3, 1, 1) each."""
    return torch.tensor(mean).view(3, 1, 1) * 255, 1 / (torch.tensor(std).view(3, 1, 1) * 255)


@functools.cache
def _scale(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device, width: int | None
) -> tuple[Tensor, Tensor]:
    """`normalising` on a device; with a width, those of a row of pixels in channels-last layout, (3 · width,).

    Cached, because creating them makes the host wait for the device.
    """
    with torch.inference_mode(False):
        found = (value.to(device) for value in normalising(mean, std))
        shift, scale = found if width is None else (value.flatten().repeat(width) for value in found)
        return shift, scale


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...], *, channels_last: bool = True) -> Tensor:
    """(B, 3, S, S) uint8 → float32 with (pixel / 255 - mean) / std, on the same device."""
    if not channels_last:
        shift, scale = _scale(tuple(mean), tuple(std), images.device, None)
        return images.to(torch.float32, memory_format=torch.contiguous_format, copy=True).sub_(shift).mul_(scale)
    width = images.shape[3]
    shift, scale = _scale(tuple(mean), tuple(std), images.device, width)
    floats = images.to(torch.float32, memory_format=torch.channels_last, copy=True)
    # By rows: three channels at a time are too few for vector instructions, and take three times as long on a CPU.
    floats.permute(0, 2, 3, 1).view(-1, 3 * width).sub_(shift).mul_(scale)
    return floats


def to_device(
    batch: Batch,
    device: torch.device | str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channels_last: bool = True,
) -> Batch:
    """The batch on `device`, its images normalised to float32. Copies from pinned memory do not block.

    Embeddings in the place of images (B, D) stay as they are.
    """
    batch = batch.to(torch.device(device))
    if batch.images.ndim == 2:
        return batch
    return replace(batch, images=normalise(batch.images, mean, std, channels_last=channels_last))
