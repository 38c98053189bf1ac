"""Images as batches of the network's input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fgvc_cli.data.images.read import read_image
from fgvc_cli.data.loading.transforms import transform
from fgvc_cli.data.types import Batch
from fgvc_cli.inference.pictures import OnBad, Picture, read_ahead
from fgvc_cli.spec.data import DataSpec

Draw = Callable[[Picture], torch.Generator]


@dataclass(frozen=True)
class Loaded:
    """B images as input of the network."""

    pictures: tuple[Picture, ...]
    originals: tuple[Tensor, ...]  # (3, H, W) uint8 each, as in the file; empty unless requested
    sizes: tuple[tuple[int, int], ...]  # (H, W) of each original
    batch: Batch  # images uint8; labels are -1 if the true class is not known


def load_pictures(
    pictures: Sequence[Picture],
    spec: DataSpec,
    size: int,
    *,
    originals: bool = False,
    on_bad: OnBad | None = None,
    draw: Draw | None = None,
) -> Iterator[Loaded]:
    """Batches of `size` images, in order, transformed as in evaluation; threads read the next batch meanwhile.

    Args:
        pictures: the images.
        spec: how they become the network's input.
        size: images in a batch.
        originals: whether to keep the images as they are in their files.
        on_bad: called with each image that cannot be read, which is then left out; None: the ImageError is raised.
        draw: the generator for an image's random transform, as in training; None: as in evaluation.
    """
    for good in read_ahead(pictures, size, partial(_read, spec=spec, keep=originals, draw=draw), on_bad):
        yield _stack(good)


@dataclass(frozen=True)
class _Read:
    original: Tensor | None  # kept only if requested: a photo takes 100 times the memory of the network's input
    size: tuple[int, int]
    pixels: Tensor
    to_original: Tensor


def _read(picture: Picture, spec: DataSpec, keep: bool, draw: Draw | None) -> _Read:
    original = _original(picture, spec.max_pixels)
    generator = None if draw is None else draw(picture)
    pixels, to_original, _ = transform(original, spec, cut_bottom=picture.cut_bottom, generator=generator)
    size = (original.shape[1], original.shape[2])
    return _Read(original if keep else None, size, pixels, to_original)


def _original(picture: Picture, max_pixels: int) -> Tensor:
    """(3, H, W) uint8."""
    if picture.pixels is None:
        return read_image(picture.file, max_pixels, picture.part)
    return torch.from_numpy(np.array(picture.pixels)).permute(2, 0, 1)  # a copy: it may change, or be read-only


def _stack(good: list[tuple[Picture, _Read]]) -> Loaded:
    pictures = tuple(picture for picture, _ in good)
    batch = Batch(
        # Decoders give channels last, as the network wants them.
        images=torch.stack([read.pixels.permute(1, 2, 0) for _, read in good]).permute(0, 3, 1, 2),
        labels=torch.tensor([-1 if picture.label is None else picture.label for picture in pictures]),
        index=torch.tensor([-1 if picture.position is None else picture.position for picture in pictures]),
        to_original=torch.stack([read.to_original for _, read in good]),
    )
    originals = tuple(read.original for _, read in good if read.original is not None)
    return Loaded(pictures, originals, tuple(read.size for _, read in good), batch)
