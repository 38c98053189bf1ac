"""Images whose tiles changed places, beside a loop over tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fgvc_cli.evaluation.certainty.tiles import shuffled_tiles, tile_pictures
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.spec.data import DataSpec


def tiles_of(image: torch.Tensor) -> list[torch.Tensor]:
    tall, wide = image.shape[1] // 4, image.shape[2] // 4
    return [
        image[:, row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
        for row in range(4)
        for column in range(4)
    ]


def test_every_tile_is_there_once_and_at_another_place() -> None:
    images = torch.arange(2 * 3 * 9 * 14).reshape(2, 3, 9, 14)
    found = shuffled_tiles(images)
    assert found.shape == (2, 3, 8, 12)
    orders = []
    for before, after in zip(images, found, strict=True):
        first = [int(tile[0, 0, 0]) for tile in tiles_of(before[:, :8, :12])]
        for tile in tiles_of(after):
            assert torch.equal(tile, tiles_of(before[:, :8, :12])[first.index(int(tile[0, 0, 0]))])
        orders.append([first.index(int(tile[0, 0, 0])) for tile in tiles_of(after)])
        assert sorted(orders[-1]) == list(range(16)) != orders[-1]
    assert orders[0] != orders[1]
    assert torch.equal(found, shuffled_tiles(images))


def test_pictures_are_what_the_network_sees_with_shuffled_tiles() -> None:
    """In memory, whole: rows that were cut off are not cut off again."""
    spec = DataSpec(dataset="folder", image_size=32)
    pixels = np.random.default_rng(0).integers(0, 255, (50, 40, 3), dtype=np.uint8)
    picture = Picture("a.jpg", Path("a.jpg"), label=3, cut_bottom=10, position=7, pixels=pixels)
    (found,) = tile_pictures([picture], spec)
    assert found.pixels is not None
    assert found.pixels.shape == (32, 32, 3)
    assert (found.name, found.label, found.cut_bottom) == ("a.jpg", None, 0)
    assert found.pixels.std() > 1
