"""Draw `demo_samples.png`: four training images of every species of the demo data set, with what tells it.

    python assets/demo_samples.py

Needs matplotlib. The picture is written beside this file.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from fgvc_cli.data.demo.image import CLASSES, PARTS, TRAITS, draw

COLUMNS, ROWS, SHOWN = 2, 6, 4
TILE = 140  # pixels a side in the picture


def strip(label: int) -> np.ndarray:
    """The first images of one species side by side, (TILE, SHOWN * TILE, 3) uint8."""
    indices = (label + len(CLASSES) * k for k in range(SHOWN))
    images = (Image.fromarray(draw(0, "train", index).pixels) for index in indices)
    return np.hstack([np.asarray(image.resize((TILE, TILE), Image.Resampling.BICUBIC)) for image in images])


def words(part: str, option: str) -> str:
    """An option in words: "hooked beak", "two wing bars"."""
    count, _, what = option.partition(" ")
    return f"{count} {part} {what}".strip()


def caption(label: int) -> str:
    """The traits of a species in words."""
    return ", ".join(words(part, TRAITS[label][part]) for part in PARTS)


def main() -> None:
    """Write the picture with at most 255 colours, which keeps it small."""
    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(11.6, 9.9), dpi=100)
    for label, axis in enumerate(axes.T.flat):
        axis.imshow(strip(label), interpolation="nearest")
        axis.set_title(CLASSES[label], loc="left", fontsize=11, fontweight="bold", pad=5)
        axis.set_title(caption(label), loc="right", fontsize=9, color="0.35", pad=5)
        axis.axis("off")
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=0.972, wspace=0.02, hspace=0.17)
    path = Path(__file__).with_suffix(".png")
    figure.savefig(path)
    plt.close(figure)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(255).save(path, optimize=True)


if __name__ == "__main__":
    main()
