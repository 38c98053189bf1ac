"""Food-101: 101 dishes, 750 training and 250 test images each. The training images were left noisy on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fgvc_cli.data.catalog import require
from fgvc_cli.data.formats.index import checked
from fgvc_cli.data.formats.lists import read_lines
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.spec.data import DataSpec


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of food-101. BadRequest if the lists are missing or contradict each other."""
    root = require("food101", spec.root)
    folders = [line.text for line in read_lines(root / "meta" / "classes.txt")]
    train, test = (_split(root / "meta" / f"{name}.txt", folders) for name in ("train", "test"))
    classes = tuple(folder.replace("_", " ") for folder in folders)
    index = DatasetIndex(name="food101", root=root, classes=classes, train=train, test=test)
    return checked(index, {"train": "meta/train.txt", "test": "meta/test.txt"})


def _split(path: Path, folders: list[str]) -> Split:
    """The images of a list, whose lines are `class/image` without the extension .jpg."""
    label_of = {folder: label for label, folder in enumerate(folders)}
    files, labels = [], []
    for line in read_lines(path):
        folder = line.text.rpartition("/")[0]
        if folder not in label_of:
            raise line.wrong(f"expected one of the classes in classes.txt and an image, found {line.text!r}")
        files.append(f"images/{line.text}.jpg")
        labels.append(label_of[folder])
    return Split(tuple(files), np.array(labels, dtype=np.int64))
