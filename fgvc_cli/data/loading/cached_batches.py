"""Batches cropped from cached images: by threads of this process, or on the device, one batch at a time.

The crop and flip of an image come from its own random generator, as without a cache. Cropping and flipping only copy
bytes, so the result does not depend on where they are done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from fgvc_cli.data.loading.light.window import copy_window
from fgvc_cli.data.loading.samples import ImageDataset, Key
from fgvc_cli.data.loading.transforms import Geometry, geometry_of
from fgvc_cli.data.types import Batch
from fgvc_cli.machine.threads import cores

_COPIERS = 2  # threads; most of the time they wait for memory
_AHEAD = 2  # batches that are filled in advance


class CopiedBatches:
    """Batches copied from a memory-mapped file. A thread copies each batch, some batches in advance."""

    def __init__(self, dataset: ImageDataset, plan: Iterable[list[Key]], *, pin_memory: bool) -> None:
        self.dataset, self.plan, self.pin_memory = dataset, plan, pin_memory

    def __iter__(self) -> Iterator[Batch]:
        filled: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(min(_COPIERS, cores())) as pool:
            for keys in self.plan:
                filled.append(pool.submit(self._fill, keys, self._empty(len(keys))))
                if len(filled) > _AHEAD:
                    yield filled.popleft().result()
            while filled:
                yield filled.popleft().result()

    def _empty(self, count: int) -> Tensor:
        """Memory for the images of a batch. The main thread allocates it, so that memory it freed is reused."""
        size = self.dataset.spec.side
        return torch.empty((count, size, size, 3), dtype=torch.uint8, pin_memory=self.pin_memory)

    def _fill(self, keys: list[Key], images: Tensor) -> Batch:
        cache = self.dataset.cache
        assert cache is not None
        geometries = _geometries(self.dataset, keys)
        for (_, position), geometry, out in zip(keys, geometries, images.numpy(), strict=True):
            copy_window(cache.image(position), geometry, out)
        return _batch(self.dataset, keys, geometries, images, pin_memory=self.pin_memory)


class DeviceBatches:
    """Batches cropped from a tensor of images, on the tensor's device."""

    def __init__(self, dataset: ImageDataset, plan: Iterable[list[Key]], *, pin_memory: bool) -> None:
        self.dataset, self.plan, self.pin_memory = dataset, plan, pin_memory

    def __iter__(self) -> Iterator[Batch]:
        cache = self.dataset.cache
        assert cache is not None
        assert isinstance(cache.kept, Tensor)
        for keys in self.plan:
            geometries = _geometries(self.dataset, keys)
            starts = cache.shapes.starts[[position for _, position in keys]].tolist()
            windows = torch.tensor([_window(*pair) for pair in zip(starts, geometries, strict=True)])
            windows = windows.pin_memory() if self.pin_memory else windows
            windows = windows.to(cache.kept.device, non_blocking=True)
            images = cut_windows(cache.kept, windows, self.dataset.spec.side)
            yield _batch(self.dataset, keys, geometries, images, pin_memory=self.pin_memory)


def _window(start: int, geometry: Geometry) -> tuple[int, ...]:
    found = geometry.fitted
    return start, found.rows, found.columns, geometry.left, geometry.top, int(geometry.flip)


def cut_windows(pixels: Tensor, windows: Tensor, size: int) -> Tensor:
    """Crop windows from images, black outside: (P, 3) uint8, (B, 6) int64 → (B, size, size, 3) uint8.

    Args:
        pixels: of all images, image by image and row by row.
        windows: for each window the first pixel, rows and columns of its image, left, top, and 1 if it is flipped
            horizontally, else 0.
        size: side of the windows, in pixels.
    """
    start, rows, columns, left, top, flip = windows[:, :, None].unbind(1)  # (B, 1) each
    place = torch.arange(size, device=pixels.device)
    x = left + torch.where(flip > 0, size - 1 - place, place)  # (B, size)
    y = top + place
    inside = ((y >= 0) & (y < rows))[:, :, None] & ((x >= 0) & (x < columns))[:, None, :]
    x, y = (torch.minimum(at.clamp_min(0), most - 1) for at, most in ((x, columns), (y, rows)))
    return pixels[(start + y * columns)[:, :, None] + x[:, None, :]] * inside[..., None]


def _geometries(dataset: ImageDataset, keys: list[Key]) -> list[Geometry]:
    cache = dataset.cache
    assert cache is not None
    return [geometry_of(*cache.size(key[1]), dataset.spec, dataset.generator(key)) for key in keys]


def _batch(
    dataset: ImageDataset, keys: list[Key], geometries: list[Geometry], images: Tensor, *, pin_memory: bool
) -> Batch:
    """The batch of these images, given as (B, S, S, 3)."""
    positions = np.array([position for _, position in keys])

    def ready(values: Tensor) -> Tensor:
        return values.pin_memory() if pin_memory else values

    boxes = None
    if dataset.split.boxes is not None:
        found = zip(geometries, dataset.split.boxes[positions], strict=True)
        boxes = ready(torch.stack([geometry.map_box(box) for geometry, box in found]))
    return Batch(
        images=images.permute(0, 3, 1, 2),
        labels=ready(torch.from_numpy(dataset.split.labels[positions])),
        index=ready(torch.from_numpy(positions)),
        to_original=ready(torch.stack([geometry.to_original() for geometry in geometries])),
        boxes=boxes,
    )
