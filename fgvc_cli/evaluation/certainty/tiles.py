"""Images of nothing that was learnt, made of images of what was: cut into tiles, which change places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fgvc_cli.inference.loaded import load_pictures
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.spec.data import DataSpec

_GRID = 4  # tiles a side: parts of the object stay, the object does not
_BATCH = 64


def shuffled_tiles(images: Tensor, seed: int = 0) -> Tensor:
    """Each image with its 4 × 4 tiles in an order of its own: (N, C, H, W) → (N, C, H', W').

    H' and W' are H and W less what 4 does not divide. The same seed and N give the same orders.
    """
    count, channels, *sides = images.shape
    tall, wide = (side // _GRID for side in sides)
    whole = images[:, :, : tall * _GRID, : wide * _GRID]
    grid = whole.reshape(count, channels, _GRID, tall, _GRID, wide).permute(0, 2, 4, 1, 3, 5)
    tiles = grid.reshape(count, _GRID**2, channels, tall, wide)
    orders = torch.rand(count, _GRID**2, generator=torch.Generator().manual_seed(seed)).argsort(1)
    moved = tiles[torch.arange(count)[:, None], orders].reshape(grid.shape)
    return moved.permute(0, 3, 1, 4, 2, 5).reshape(whole.shape)


def tile_pictures(pictures: Sequence[Picture], spec: DataSpec) -> list[Picture]:
    """Pictures in memory: what the network would see of each, with its tiles shuffled.

    ImageError if one cannot be read.
    """
    found = []
    for batch, loaded in enumerate(load_pictures(pictures, spec, _BATCH)):
        moved = shuffled_tiles(loaded.batch.images, seed=batch).permute(0, 2, 3, 1).contiguous().numpy()
        found += [
            replace(picture, label=None, box=None, cut_bottom=0, pixels=pixels)
            for picture, pixels in zip(loaded.pictures, moved, strict=True)
        ]
    return found
