"""Synthetic JPEG files of 500 x 400 pixels that are as hard to decode as photographs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from fgvc_cli.bench.rounds import Progress
from fgvc_cli.data.demo.image import draw
from fgvc_cli.data.types import DatasetIndex, Split

WIDTH, HEIGHT, QUALITY = 500, 400, 95  # about 90 KB a file
_DRAWN = 32  # different images; the other files are copies


def photographs(root: Path, count: int, progress: Progress) -> DatasetIndex:
    """A dataset of `count` files in the folder `root`, drawn like the demo's images."""
    drawn = min(count, _DRAWN)
    progress("drawing photographs", 0, drawn)
    for number in range(drawn):
        pixels = draw(0, "bench", number, size=WIDTH).pixels[:HEIGHT]
        Image.fromarray(pixels).save(root / f"{number}.jpg", quality=QUALITY)
        progress("drawing photographs", number + 1, drawn)
    for number in range(drawn, count):
        shutil.copyfile(root / f"{number % drawn}.jpg", root / f"{number}.jpg")
    split = Split(tuple(f"{number}.jpg" for number in range(count)), np.arange(count, dtype=np.int64) % 2)
    return DatasetIndex("folder", root, ("even", "odd"), split, split)
