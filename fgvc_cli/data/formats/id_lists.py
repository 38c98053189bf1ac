"""The list files of CUB-200-2011 and NABirds: each line begins with the image's id.

Only listed images are used: the folders also hold other files and are never searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.formats.index import checked
from fgvc_cli.data.formats.lists import Line, read_lines, read_table
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.spec.data import DatasetName
from fgvc_cli.values import brief, natural

LABELS = "image_class_labels.txt"


def index_of_lists(name: DatasetName, root: Path, classes: Mapping[str, str]) -> DatasetIndex:
    """The index; boxes and parts if their files exist. BadRequest if the lists contradict each other.

    `classes`: the lists' class id → name, in the order of the labels.
    """
    images = read_table(root / "images.txt")
    labels, in_train = _labels(root, images, tuple(classes)), _in_train(root, images)
    part_names, parts = _parts(root, images)
    whole = Split(tuple(f"images/{line.text}" for line in images.values()), labels, _boxes(root, images), parts)
    return checked(
        DatasetIndex(
            name=name,
            root=root,
            classes=tuple(classes.values()),
            train=whole.take(np.flatnonzero(in_train)),
            test=whole.take(np.flatnonzero(~in_train)),
            part_names=part_names,
        ),
        "images.txt",
    )


def class_number(key: str, line: Line) -> int:
    """A class id as a number; BadRequest for anything else."""
    try:
        return natural(key)
    except ValueError as error:
        raise line.wrong(f"expected a number first: {error}") from None


def _of_each(path: Path, images: dict[str, Line]) -> list[Line]:
    """The line of each image in another list. BadRequest for an image without one."""
    table = read_table(path)
    for key, line in images.items():
        if key not in table:
            raise line.wrong(f"image {key} has no line in {path.name}")
    return [table[key] for key in images]


def _labels(root: Path, images: dict[str, Line], classes: tuple[str, ...]) -> NDArray[np.int64]:
    label_of = {key: label for label, key in enumerate(classes)}
    lines = _of_each(root / LABELS, images)
    for line in lines:
        if line.text not in label_of:
            raise line.wrong(f"class {brief(line.text)} is not in classes.txt")
    return np.array([label_of[line.text] for line in lines], dtype=np.int64)


def _in_train(root: Path, images: dict[str, Line]) -> NDArray[np.bool_]:
    lines = _of_each(root / "train_test_split.txt", images)
    return np.array([line.number_in(0, 1) for line in lines], dtype=bool)


def _boxes(root: Path, images: dict[str, Line]) -> NDArray[np.float32] | None:
    """(N, 4) xyxy; the file has x y width height."""
    path = root / "bounding_boxes.txt"
    if not path.is_file():
        return None
    boxes = np.array([line.numbers(4) for line in _of_each(path, images)], dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _parts(root: Path, images: dict[str, Line]) -> tuple[tuple[str, ...], NDArray[np.float32] | None]:
    """Names and points (N, P, 3) x, y, visible; points that are not listed are not visible."""
    names_file, points_file = root / "parts" / "parts.txt", root / "parts" / "part_locs.txt"
    if not (names_file.is_file() and points_file.is_file()):
        return (), None
    names = read_table(names_file)
    column = {key: i for i, key in enumerate(names)}
    row = {key: i for i, key in enumerate(images)}
    points = np.zeros((len(images), len(names), 3), dtype=np.float32)
    for line in read_lines(points_file):
        image, _, rest = line.text.partition(" ")
        part, _, place = rest.partition(" ")
        if part not in column:
            raise line.wrong(f"part {part} is not in parts.txt")
        if image in row:
            points[row[image], column[part]] = Line(line.file, line.number, place).numbers(3)
    return tuple(line.text for line in names.values()), points
