"""RGB colours of all pictures. They are safe for colour-blind readers, except the papers' red and green."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

RED: Colour = (228, 26, 28)
GREEN: Colour = (0, 168, 80)
BLUE: Colour = (20, 110, 255)
YELLOW: Colour = (255, 217, 47)
WHITE: Colour = (255, 255, 255)
DARK: Colour = (24, 24, 24)
GREY: Colour = (110, 110, 110)

RIGHT: Colour = (0, 98, 178)  # a right prediction: everybody can tell blue from vermilion, and a word says it too
WRONG: Colour = (196, 78, 0)

LEVELS = (GREEN, BLUE, RED)  # AP-CNN Fig. 5: low, middle, high
SETS: tuple[Colour, ...] = (  # Okabe and Ito's, brightest first, to be visible on photographs
    (240, 228, 66),
    (86, 180, 233),
    (230, 100, 0),
    (204, 121, 167),
    (0, 158, 115),
)
TRUTH = WHITE

HEAT, SIGNED = "inferno", "signed"
_BELOW, _ABOVE = (0, 84, 190), (232, 96, 0)  # the ends of SIGNED, white in the middle


@cache
def table(name: str) -> NDArray[np.uint8]:
    """A colour map as (256, 3): SIGNED (blue below the middle, orange above) or matplotlib's map of that name."""
    if name == SIGNED:
        share = np.linspace(-1, 1, 256)[:, None]
        ends = np.where(share < 0, np.array(_BELOW), np.array(_ABOVE))
        mixed: NDArray[np.uint8] = np.rint(255 + np.abs(share) * (ends - 255)).astype(np.uint8)
        return mixed
    from matplotlib import colormaps

    colours: NDArray[np.uint8] = colormaps[name](np.arange(256), bytes=True)[:, :3].copy()
    return colours


def heat_colours(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values 0..1 of any shape → (..., 3) colours of HEAT."""
    colours: NDArray[np.uint8] = table(HEAT)[np.rint(values.clip(0, 1) * 255).astype(np.uint8)]
    return colours


def signed_colours(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values -1..1 of any shape → (..., 3) colours of SIGNED."""
    return table(SIGNED)[np.rint((values.clip(-1, 1) + 1) * 127.5).astype(np.uint8)]
