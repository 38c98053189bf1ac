"""Scenes: a photograph at a random size and place on a canvas of other photographs' blurred, shuffled patches.

python -m benchmarks.scenes ROOT OUT [--dataset cub] [--classes 20] [--seed 0]
fgvc suite benchmarks/suites/scenes.toml --data-dir OUT/scenes.csv

A real object on an artificial ground. The photographs of the parts at hand are cut along the objects' boxes, so a
method that finds the object has little to find; here it has, and the true box is the photograph's place. Size and place
are drawn from the seed, the split and the image's number. The ground of an image is of photographs of its own split.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.parts import HEADER, index_of
from fgvc_cli.csv_text import csv_text
from fgvc_cli.data.types import DatasetIndex

SIDE = 320  # of the canvas, pixels
PATCH = 40  # side of a patch of the ground
BLUR = 3.0  # Gaussian radius of the ground, pixels
SIZES = (0.35, 0.65)  # the photograph's longer side, as a share of the canvas'
GROUNDS = 4  # photographs that a ground is made of
BOX = ("x1", "y1", "x2", "y2")


def ground(photos: list[Image.Image], dice: np.random.RandomState) -> Image.Image:
    """A canvas of blurred patches of photographs, in random order."""
    patches = []
    for photo in photos:
        pixels = np.asarray(photo.resize((SIDE, SIDE)).filter(ImageFilter.GaussianBlur(BLUR)))
        cut = pixels.reshape(SIDE // PATCH, PATCH, SIDE // PATCH, PATCH, 3).swapaxes(1, 2)
        patches.append(cut.reshape(-1, PATCH, PATCH, 3))
    every = np.concatenate(patches)
    chosen = every[dice.permutation(len(every))[: (SIDE // PATCH) ** 2]]
    rows = chosen.reshape(SIDE // PATCH, SIDE // PATCH, PATCH, PATCH, 3).swapaxes(1, 2)
    return Image.fromarray(rows.reshape(SIDE, SIDE, 3))


def scene(
    photo: Image.Image, others: list[Image.Image], dice: np.random.RandomState
) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """A scene and the photograph's box in it, xyxy half-open, in pixels."""
    canvas = ground(others, dice)
    scale = SIDE * dice.uniform(*SIZES) / max(photo.size)
    width, height = (max(1, round(scale * side)) for side in photo.size)
    left, top = dice.randint(SIDE - width + 1), dice.randint(SIDE - height + 1)
    canvas.paste(photo.resize((width, height), Image.Resampling.BICUBIC), (left, top))
    return canvas, (left, top, left + width, top + height)


def write_scenes(index: DatasetIndex, classes: int, out: Path, seed: int) -> Path:
    """Write the scenes of the first classes, and their table."""
    rows: list[tuple[object, ...]] = []
    for number, split in enumerate(("train", "test")):
        part = index.split(split)
        kept = [(file, label) for file, label in zip(part.files, part.labels.tolist(), strict=True) if label < classes]
        photos = [Image.open(index.root / file).convert("RGB") for file, _ in kept]
        folder = out / split
        folder.mkdir(parents=True, exist_ok=True)
        for place, (_, label) in enumerate(kept):
            dice = np.random.RandomState([seed, number, place])
            few = min(GROUNDS, len(photos))
            others = [photos[other] for other in dice.choice(len(photos), few, replace=False) if other != place]
            image, box = scene(photos[place], others, dice)
            name = f"{split}/{place:05d}.png"
            image.save(out / name)
            rows.append((name, index.classes[label], split, *box))
    table = out / "scenes.csv"
    table.write_text(csv_text((*HEADER, *BOX), rows))
    return table


def main() -> None:
    """Parse the command line and write the scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dataset", default="cub")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print(write_scenes(index_of(chosen.root, chosen.dataset), chosen.classes, chosen.out, chosen.seed))


if __name__ == "__main__":
    main()
