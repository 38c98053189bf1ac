"""The data types: a dataset's index, its splits, and batches of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.taxonomy import Taxonomy

if TYPE_CHECKING:  # reading an exported model's answers needs no PyTorch
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """A batch from the loader: B images of side S.

    `to_original` maps network-input pixels to the original image's pixels: (x, y, 1) ↦ (x', y'). Coordinates are
    continuous, 0 at the left or top edge of the first pixel.
    """

    images: Tensor  # (B, 3, S, S) uint8 from the loader, float32 after `to_device`; or (B, D) their embeddings
    labels: Tensor  # (B,) int64, or (B, K) probabilities
    index: Tensor  # (B,) int64, position in the split
    to_original: Tensor  # (B, 2, 3) float32
    boxes: Tensor | None = None  # (B, 4) true box in network-input pixels, float32

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`; copies from pinned memory do not block."""
        moved = {name: value.to(device, non_blocking=True) for name, value in vars(self).items() if value is not None}
        return replace(self, **moved)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; DataLoader calls this by name."""
        pinned = {name: value.pin_memory() for name, value in vars(self).items() if value is not None}
        return replace(self, **pinned)


@dataclass(frozen=True)
class Split:
    """N images of one split, in a fixed order."""

    files: tuple[str, ...]  # paths relative to the index's root, `/` between folders
    labels: NDArray[np.int64]  # (N,) 0-based
    boxes: NDArray[np.float32] | None = None  # (N, 4) xyxy half-open, pixels of the original image
    parts: NDArray[np.float32] | None = None  # (N, P, 3) x, y, visible; pixels of the original image

    def __len__(self) -> int:
        return len(self.files)

    def take(self, positions: NDArray[np.int64]) -> Split:
        """The images at `positions`, in that order."""
        return Split(
            files=tuple(self.files[i] for i in positions),
            labels=self.labels[positions],
            boxes=None if self.boxes is None else self.boxes[positions],
            parts=None if self.parts is None else self.parts[positions],
        )


@dataclass(frozen=True)
class LeftOut:
    """Classes that a run does not learn, and their images in each split; labels are positions in these classes."""

    classes: tuple[str, ...]
    splits: Mapping[str, Split]


@dataclass(frozen=True)
class DatasetIndex:
    """A dataset as found on disk: class names, splits, and notes for the user."""

    name: str
    root: Path
    classes: tuple[str, ...]
    train: Split
    test: Split
    val: Split | None = None
    part_names: tuple[str, ...] = ()
    part_options: tuple[tuple[str, ...], ...] = ()  # K × P: what each part looks like in each class, where known
    cut_bottom: int = 0  # rows at the bottom of every image that are not part of the picture (a banner)
    drawn: bool = False  # fgvc drew test or val (not official): the run records the splits
    notes: tuple[str, ...] = field(default=())
    left_out: LeftOut | None = None
    taxonomy: Taxonomy | None = None  # of the classes, if it is known
    doubt: str | None = None  # why its classes may be none: the error of whoever begins a run on it

    def splits(self) -> dict[str, Split]:
        """The existing splits by name, in the order train, val, test."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    def split(self, name: str) -> Split:
        """The split called train, val or test; KeyError if it does not exist."""
        return self.splits()[name]
