"""A contact sheet: images, each beside those that are most like it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fgvc_cli.data.images.read import read_image
from fgvc_cli.figures import short
from fgvc_cli.inference.features.gallery import Neighbour
from fgvc_cli.inference.look import Model
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.viz.pixels import Pixels, resized
from fgvc_cli.viz.sheet import PANEL, Panel, Row, Sheet, Strip, Words

_DPI = 100
_LONGEST = 24  # characters of a name


def draw_neighbours(
    path: Path, model: Model, pictures: Sequence[Picture], found: Sequence[Sequence[Neighbour]], dpi: int = _DPI
) -> None:
    """Write a PNG with a row for each picture: itself, then its neighbours with class and distance."""
    Sheet([strip_of(model, *pair, dpi) for pair in zip(pictures, found, strict=True)], dpi).write(path)


def strip_of(model: Model, picture: Picture, near: Sequence[Neighbour], dpi: int) -> Strip:
    """The row of one picture."""
    most = model.spec.data.max_pixels
    first = Panel(card_of(picture.file, most, dpi), "image", short(picture.file.name, _LONGEST))
    others = [
        Panel(
            card_of(one.picture.file, most, dpi),
            short(one.name or one.picture.file.name, _LONGEST),
            f"distance {one.distance:.3f}",
        )
        for one in near
    ]
    return Strip((Row((first, *others)),), (Words(picture.name, bold=True),))


def card_of(file: Path, most: int, dpi: int) -> Pixels:
    """An image of at most so many pixels in a square of a panel's size, its shape kept, on white."""
    side = round(PANEL * dpi * 0.6)
    pixels = np.ascontiguousarray(read_image(file, most).permute(1, 2, 0).numpy())
    factor = side / max(pixels.shape[:2])
    height, width = (max(1, round(factor * length)) for length in pixels.shape[:2])
    card = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    card[top : top + height, left : left + width] = resized(pixels, (height, width))
    return card
