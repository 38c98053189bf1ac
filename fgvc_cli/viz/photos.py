"""A contact sheet of photos in rows, each with two lines of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgvc_cli.figures import short
from fgvc_cli.viz.neighbours import card_of
from fgvc_cli.viz.sheet import Panel, Row, Sheet, Strip, Words

_DPI = 100
_LONGEST = 24  # characters of a line
_COLUMNS = 5


@dataclass(frozen=True)
class Photo:
    """A photo on the sheet."""

    file: Path
    above: str
    below: str


def draw_photos(path: Path, photos: Sequence[Photo], most_pixels: int, dpi: int = _DPI) -> None:
    """Write a PNG of the photos, row after row; of one with more than `most_pixels`, ImageError."""
    strips = []
    for first in range(0, len(photos), _COLUMNS):
        row = photos[first : first + _COLUMNS]
        panels = tuple(
            Panel(card_of(one.file, most_pixels, dpi), short(one.above, _LONGEST), short(one.below, _LONGEST))
            for one in row
        )
        strips.append(Strip((Row(panels),), (Words(f"{first + 1} to {first + len(row)}", bold=True),)))
    Sheet(strips, dpi).write(path)
