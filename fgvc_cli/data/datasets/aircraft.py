"""FGVC-Aircraft 2013b at the variant level: trainval against test, the 20-pixel credit line at the bottom cut off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.catalog import require
from fgvc_cli.data.datasets.common import checked, drop_missing, read_lines, read_table
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DataSpec

BANNER = 20  # pixel rows


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of fgvc-aircraft-2013b; boxes where images_box.txt is there. BadRequest on contradicting lists."""
    root = require("aircraft", spec.root)
    root = root / "data" if (root / "data" / "variants.txt").is_file() else root
    classes = tuple(line.text for line in read_lines(root / "variants.txt"))
    train, train_notes = _split(root, "trainval", classes)
    test, test_notes = _split(root, "test", classes)
    return checked(
        DatasetIndex(
            name="aircraft",
            root=root,
            classes=classes,
            train=train,
            test=test,
            cut_bottom=BANNER,
            notes=train_notes + test_notes,
        )
    )


def _split(root: Path, name: str, classes: tuple[str, ...]) -> tuple[Split, tuple[str, ...]]:
    path = root / f"images_variant_{name}.txt"
    label_of = {variant: label for label, variant in enumerate(classes)}
    images = read_table(path)  # ids stay text: they have leading zeros
    for line in images.values():
        if line.text not in label_of:
            raise line.wrong(f"variant {line.text!r} is not in variants.txt")
    labels = np.array([label_of[line.text] for line in images.values()], dtype=np.int64)
    files = tuple(f"images/{image}.jpg" for image in images)
    return drop_missing(root, Split(files, labels, _boxes(root, path, tuple(images))), path.name)


def _boxes(root: Path, source: Path, images: tuple[str, ...]) -> NDArray[np.float32] | None:
    """(N, 4) xyxy half-open; the file counts pixels from 1, the last one included."""
    path = root / "images_box.txt"
    if not path.is_file():
        return None
    table = read_table(path)
    for image in images:
        if image not in table:
            raise BadRequest(f"{path}: has no line for image {image} of {source.name}")
    boxes = np.array([table[image].numbers(4) for image in images], dtype=np.float32).reshape(-1, 4)
    boxes[:, :2] -= 1
    return boxes
