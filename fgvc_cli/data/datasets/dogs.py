"""Stanford Dogs: 120 breeds, a subset of ImageNet. The true box encloses all annotated dogs."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np

from fgvc_cli.data.catalog import require
from fgvc_cli.data.formats.index import checked
from fgvc_cli.data.formats.lists import named_labels
from fgvc_cli.data.formats.matlab import numbers, texts
from fgvc_cli.data.formats.surveyed import Box, with_surveyed_boxes
from fgvc_cli.data.images.survey import Progress
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import open_regular
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.values import coordinate

_IMAGES = ("Images", "images/Images", "images")  # as unpacked by hand, and as in some copies
_BOXES = ("Annotation", "annotations/Annotation", "annotation")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def load(spec: DataSpec, progress: Progress | None = None) -> DatasetIndex:
    """The index of Stanford Dogs; boxes if Annotation/ exists. BadRequest if the lists contradict each other."""
    root = require("dogs", spec.root)
    lists = {name: _find_list(root, f"{name}_list.mat") for name in ("train", "test")}
    files = {name: [file.replace("\\", "/") for file in texts(path, "file_list")] for name, path in lists.items()}
    numbered = {name: _labels(path, len(files[name])) for name, path in lists.items()}
    all_files = files["train"] + files["test"]
    train_count = len(files["train"])

    def wrong(i: int, what: str) -> BadRequest:
        path, entry = (lists["train"], i + 1) if i < train_count else (lists["test"], i + 1 - train_count)
        return BadRequest(f"{path}: entry {entry} ({all_files[i]}): {what}")

    folders = [file.rpartition("/")[0] for file in all_files]
    names, labels = named_labels(folders, numbered["train"] + numbered["test"], wrong)
    images = _one_of(root, _IMAGES) or _IMAGES[0]
    whole = Split(tuple(f"{images}/{file}" for file in all_files), labels)
    index = DatasetIndex(
        name="dogs",
        root=root,
        classes=tuple(map(_tidy, names)),
        train=whole.take(np.arange(train_count)),
        test=whole.take(np.arange(train_count, len(whole))),
    )
    boxes = _one_of(root, _BOXES)
    if boxes is not None:

        def file_of(image: str) -> str:
            return f"{boxes}/{PurePosixPath(image).relative_to(images).with_suffix('')}"

        index = with_surveyed_boxes(index, "boxes of dogs", file_of, box_around_all, progress)
    return checked(index, {name: path.name for name, path in lists.items()})


def _find_list(root: Path, name: str) -> Path:
    for path in (root / name, root / "lists" / name):
        if path.is_file():
            return path
    raise BadRequest(f"{root}: {name} is missing; unpack lists.tar here")


def _one_of(root: Path, folders: tuple[str, ...]) -> str | None:
    return next((folder for folder in folders if (root / folder).is_dir()), None)


def _labels(path: Path, images: int) -> list[int]:
    labels: list[int] = numbers(path, "labels").tolist()
    if len(labels) != images:
        raise BadRequest(f"{path}: {images} files, but {len(labels)} labels")
    return labels


def _tidy(folder: str) -> str:
    """n02098105-soft-coated_wheaten_terrier → soft-coated wheaten terrier."""
    return folder.partition("-")[2].replace("_", " ") or folder


def box_around_all(path: Path) -> Box:
    """The box around all boxes of a VOC file, whose coordinates already are edges 0..width. ValueError without any."""
    with open_regular(path) as stream:
        found = ElementTree.parse(stream).iter("bndbox")
        boxes = [[coordinate(box.findtext(side, "")) for side in _SIDES] for box in found]
    if not boxes:
        raise ValueError("marks no object")
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return min(x1), min(y1), max(x2), max(y2)
