"""How images of any shape are resized, before any random transform: `data.fit`.

squash: to a square, whatever the shape. crop: the short side to the wanted length, with the image's own aspect. pad:
the long side, with the image's own aspect and black bars around. Bars are never stored: what is outside a resized
image is black.
"""

from __future__ import annotations

from dataclasses import dataclass

from fgvc_cli.spec.data import DataSpec

MOST_STRETCHED = (
    8  # aspect ratio of what is resized for crops: an image of 1 x 4000 pixels would become 256 x 1,024,000
)


@dataclass(frozen=True)
class Fitted:
    """A part of an image, its size after resizing, and the canvas in whose middle it lies. Lengths are in pixels."""

    x: int  # the part of the image: its corner and size; all of the image but for the longest ones
    y: int
    width: int
    height: int
    columns: int  # its size after resizing
    rows: int
    across: int  # the canvas, whose rest is black: crops are taken from it
    down: int
    interpolation: str = "bilinear"

    @property
    def bars(self) -> tuple[int, int]:
        """Black columns left of the resized image and black rows above it."""
        return (self.across - self.columns) // 2, (self.down - self.rows) // 2


def fitted(height: int, width: int, spec: DataSpec) -> Fitted:
    """How an image of height × width pixels is resized by a resolved spec."""
    side, mode = spec.resize_side, spec.interpolation
    if spec.fit == "squash":
        return Fitted(0, 0, width, height, side, side, side, side, mode)
    if spec.fit == "pad":
        columns, rows = (max(1, round(side * length / max(width, height))) for length in (width, height))
        return Fitted(0, 0, width, height, columns, rows, side, side, mode)
    short = min(width, height)
    wide, high = min(width, MOST_STRETCHED * short), min(height, MOST_STRETCHED * short)
    columns, rows = side * wide // short, side * high // short  # rounded down, like torchvision's Resize
    return Fitted((width - wide) // 2, (height - high) // 2, wide, high, columns, rows, columns, rows, mode)
