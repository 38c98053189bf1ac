"""FGVC-Aircraft 2013b: train is the official trainval; the 20-pixel credit line at the bottom is cut off.

A class is a variant (A330-200), a family (A330) or a manufacturer (Airbus), as `data.level` says.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.catalog import require
from fgvc_cli.data.formats.index import checked
from fgvc_cli.data.formats.lists import read_lines, read_table
from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DataSpec

BANNER = 20  # pixel rows
_NAMES = {"variant": "variants.txt", "family": "families.txt", "manufacturer": "manufacturers.txt"}


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of FGVC-Aircraft; boxes if images_box.txt exists. BadRequest if the lists contradict each other."""
    level = spec.level or "variant"
    root = require("aircraft", spec.root)
    root = root / "data" if (root / "data" / "variants.txt").is_file() else root
    classes = tuple(line.text for line in read_lines(root / _NAMES[level]))
    lists = {"train": f"images_{level}_trainval.txt", "test": f"images_{level}_test.txt"}
    train, test = (_split(root / lists[name], level, classes) for name in ("train", "test"))
    index = DatasetIndex(
        name="aircraft",
        root=root,
        classes=classes,
        train=train,
        test=test,
        cut_bottom=BANNER,
        taxonomy=_tree(root, level, classes),
    )
    return checked(index, lists, spec.level)


def _tree(root: Path, level: str, classes: tuple[str, ...]) -> Taxonomy | None:
    """The levels above `level`, as the lists of training images have them; None if there are none."""
    above = list(_NAMES)[: list(_NAMES).index(level) : -1]  # the highest first
    lists = {name: root / f"images_{name}_trainval.txt" for name in (*above, level)}
    if not above or not all(path.is_file() for path in lists.values()):
        return None
    tables = {name: read_table(path) for name, path in lists.items()}
    example = {line.text: image for image, line in tables[level].items()}
    if not all(example.get(one) in tables[name] for one in classes for name in above):
        return None
    return Taxonomy.of_columns(classes, {name: [tables[name][example[one]].text for one in classes] for name in above})


def _split(path: Path, level: str, classes: tuple[str, ...]) -> Split:
    label_of = {name: label for label, name in enumerate(classes)}
    images = read_table(path)  # ids stay text: they have leading zeros
    for line in images.values():
        if line.text not in label_of:
            raise line.wrong(f"{level} {line.text!r} is not in {_NAMES[level]}")
    labels = np.array([label_of[line.text] for line in images.values()], dtype=np.int64)
    return Split(tuple(f"images/{image}.jpg" for image in images), labels, _boxes(path, tuple(images)))


def _boxes(source: Path, images: tuple[str, ...]) -> NDArray[np.float32] | None:
    """(N, 4) xyxy half-open; the file's pixel numbers start at 1, and the last pixel is included."""
    path = source.with_name("images_box.txt")
    if not path.is_file():
        return None
    table = read_table(path)
    for image in images:
        if image not in table:
            raise BadRequest(f"{path}: has no line for image {image} of {source.name}")
    boxes = np.array([table[image].numbers(4) for image in images], dtype=np.float32).reshape(-1, 4)
    boxes[:, :2] -= 1
    return boxes
