"""Batches cut out of kept squares: copied by threads of this process, or cut on the device a batch at a time.

Each image's window and mirror are drawn from its own generator as ever; what is done with them are copies of bytes, so
that where they are done changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from fgvc_cli.data.loading.samples import ImageDataset, Key
from fgvc_cli.data.loading.transforms import Geometry, copy_window, geometry_of
from fgvc_cli.data.types import Batch
from fgvc_cli.machine.threads import cores

_COPIERS = 2  # threads: they wait for memory most of the time
_AHEAD = 2  # batches that are filled beside the one that is waited for


class CopiedBatches:
    """Batches copied from a memory-mapped file, each by a thread, some ahead of the one asked for."""

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
        """Room for the images of a batch. Made by the main thread, which gets back memory that it freed."""
        size = self.dataset.spec.image_size
        return torch.empty((count, size, size, 3), dtype=torch.uint8, pin_memory=self.pin_memory)

    def _fill(self, keys: list[Key], images: Tensor) -> Batch:
        squares = self.dataset.squares
        assert squares is not None
        geometries = _geometries(self.dataset, keys)
        for (_, position), geometry, out in zip(keys, geometries, images.numpy(), strict=True):
            copy_window(squares.square(position), geometry, out)
        return _batch(self.dataset, keys, geometries, images, pin_memory=self.pin_memory)


class DeviceBatches:
    """Batches cut out of a tensor of squares on its device."""

    def __init__(self, dataset: ImageDataset, plan: Iterable[list[Key]], *, pin_memory: bool) -> None:
        self.dataset, self.plan, self.pin_memory = dataset, plan, pin_memory

    def __iter__(self) -> Iterator[Batch]:
        squares = self.dataset.squares
        assert squares is not None
        assert isinstance(squares.kept, Tensor)
        for keys in self.plan:
            geometries = _geometries(self.dataset, keys)
            rows = squares.rows[[position for _, position in keys]]
            windows = torch.tensor([[row, g.left, g.top, g.flip] for row, g in zip(rows, geometries, strict=True)])
            windows = windows.pin_memory() if self.pin_memory else windows
            windows = windows.to(squares.kept.device, non_blocking=True)
            images = cut_windows(squares.kept, windows, self.dataset.spec.image_size)
            yield _batch(self.dataset, keys, geometries, images, pin_memory=self.pin_memory)


def cut_windows(squares: Tensor, windows: Tensor, size: int) -> Tensor:
    """Windows of squares, black outside: (N, side, side, 3) uint8, (B, 4) int64 → (B, size, size, 3) uint8.

    Args:
        squares: N squares.
        windows: row in `squares`, left, top, and 1 where the window is mirrored.
        size: of the windows, in pixels.
    """
    side = squares.shape[1]
    row, left, top, flip = windows.unbind(1)
    place = torch.arange(size, device=squares.device)
    x = left[:, None] + torch.where(flip[:, None] > 0, size - 1 - place, place)  # (B, size)
    y = top[:, None] + place
    inside = ((y >= 0) & (y < side))[:, :, None, None] & ((x >= 0) & (x < side))[:, None, :, None]
    pixels = squares[row[:, None, None], y.clamp(0, side - 1)[:, :, None], x.clamp(0, side - 1)[:, None, :]]
    return pixels * inside


def _geometries(dataset: ImageDataset, keys: list[Key]) -> list[Geometry]:
    squares = dataset.squares
    assert squares is not None
    return [geometry_of(*squares.size(key[1]), dataset.spec, dataset.generator(key)) for key in keys]


def _batch(
    dataset: ImageDataset, keys: list[Key], geometries: list[Geometry], images: Tensor, *, pin_memory: bool
) -> Batch:
    """The batch of these images (B, S, S, 3)."""
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
