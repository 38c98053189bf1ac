"""Stanford Cars, in either of its two common layouts.

(a) `cars_annos.mat` lists all images of `car_ims/`;
(b) `cars_train/` and `cars_test/` with a devkit: `cars_meta.mat` (class names), `cars_train_annos.mat` and
    `cars_test_annos_withlabels.mat`. Images may lie one folder deeper (`cars_train/cars_train/`).

Labels and box coordinates start at 1 and are stored as unsigned integers of 8 or 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fgvc_cli.data.catalog import require
from fgvc_cli.data.formats.index import checked
from fgvc_cli.data.formats.matlab import column, integers, texts, variable
from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DataSpec

_KITS = ("devkit", "car_devkit/devkit", "car_devkit", "cars_devkit", ".")
_MAKES = ("AM General", "Aston Martin", "Land Rover")  # of two words
_BODIES = frozenset(
    [
        "Sedan",
        "Coupe",
        "Convertible",
        "Conv.",
        "Hatchback",
        "Wagon",
        "SUV",
        "Van",
        "Minivan",
        "Cab",
        "Crew",
        "Quad",
        "Club",
        "Regular",
        "Extended",
        "SuperCab",
    ]
)
_YEAR = 4  # digits
_BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
_LABELLED = "cars_test_annos_withlabels.mat"


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of Stanford Cars with its boxes. BadRequest if annotations are missing or contradict each other."""
    root = require("cars", spec.root)
    if (root / "cars_annos.mat").is_file() and (root / "car_ims").is_dir():
        return _one_list(root)
    return _devkit(root)


def _one_list(root: Path) -> DatasetIndex:
    """Layout (a)."""
    path = root / "cars_annos.mat"
    classes, annotations = _names(path), variable(path, "annotations")
    files = [str(name).replace("\\", "/") for name in column(path, annotations, "relative_im_path")]
    whole = _split(path, annotations, files, len(classes))
    is_test = integers(path, annotations, "test") != 0
    return _index(root, classes, whole.take(np.flatnonzero(~is_test)), whole.take(np.flatnonzero(is_test)), path, path)


def _devkit(root: Path) -> DatasetIndex:
    """Layout (b)."""
    meta, train = _find(root, "cars_meta.mat"), _find(root, "cars_train_annos.mat")
    test = _find(root, _LABELLED)
    classes = _names(meta)
    return _index(
        root,
        classes,
        _listed_split(root, "cars_train", train, len(classes)),
        _listed_split(root, "cars_test", test, len(classes)),
        train,
        test,
    )


def _index(
    root: Path, classes: tuple[str, ...], train: Split, test: Split, train_list: Path, test_list: Path
) -> DatasetIndex:
    tree = Taxonomy.of_columns(classes, _make_and_model(classes))
    index = DatasetIndex(name="cars", root=root, classes=classes, train=train, test=test, taxonomy=tree)
    return checked(index, {"train": train_list.name, "test": test_list.name})


def _make_and_model(classes: Sequence[str]) -> dict[str, list[str]]:
    """Level → the taxon of each class, from names such as "Aston Martin V8 Vantage Coupe 2012".

    The year and the words of the body are no part of the model; of a name without a model, it is the whole.
    """
    makes = [next((make for make in _MAKES if name.startswith(f"{make} ")), name.split(" ")[0]) for name in classes]
    models = []
    for name, make in zip(classes, makes, strict=True):
        words = name.removeprefix(make).split()
        if len(words) > 1 and words[-1].isdecimal() and len(words[-1]) == _YEAR:
            words.pop()
        while len(words) > 1 and words[-1] in _BODIES:
            words.pop()
        models.append(" ".join([make, *words]))
    return {"make": makes, "model": models}


def _find(root: Path, name: str) -> Path:
    """An annotation file, in a devkit folder or beside it."""
    for kit in _KITS:
        if (root / kit / name).is_file():
            return root / kit / name
    if name == _LABELLED and any((root / kit / "cars_test_annos.mat").is_file() for kit in _KITS):
        raise BadRequest(f"{root}: cars_test_annos.mat has no labels; put {_LABELLED} beside devkit/")
    raise BadRequest(f"{root}: {name} is missing; unpack car_devkit.tgz here, and put {_LABELLED} beside devkit/")


def _listed_split(root: Path, folder: str, path: Path, classes: int) -> Split:
    """A split of layout (b), its images directly in `folder` or nested once more."""
    annotations = variable(path, "annotations")
    if "class" not in (annotations.dtype.names or ()):
        raise BadRequest(f"{path}: the annotations have no labels; {_LABELLED} is the file that has them")
    nested = f"{folder}/{folder}"
    prefix = nested if (root / nested).is_dir() else folder
    return _split(path, annotations, [f"{prefix}/{name}" for name in column(path, annotations, "fname")], classes)


def _split(path: Path, annotations: Any, files: Sequence[str], classes: int) -> Split:
    labels = integers(path, annotations, "class") - 1
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if outside.size:
        i = outside[0]
        raise BadRequest(
            f"{path}: entry {i + 1} ({files[i]}) has class {labels[i] + 1}, but there are {classes} classes"
        )
    boxes = np.stack([integers(path, annotations, field) for field in _BOX], axis=1)
    boxes[:, :2] -= 1  # from pixel numbers 1..n, the last one included, to edges 0..n
    return Split(tuple(files), labels, boxes.astype(np.float32))


def _names(path: Path) -> tuple[str, ...]:
    return tuple(texts(path, "class_names"))
