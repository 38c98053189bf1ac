"""iNaturalist 2021: 10,000 species. The test labels are not public: the official validation images are the test split.

The training split is `train`, or `train_mini` (50 images per species) if only that one exists.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.catalog import require
from fgvc_cli.data.formats.index import checked
from fgvc_cli.data.formats.json_stream import elements
from fgvc_cli.data.formats.lists import unique_names
from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.values import brief, whole

_RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")
_LEVELS = ("kingdom", "phylum", "taxonomic class", "order", "family", "genus")  # `class` is the dataset's own


class _Category(NamedTuple):
    """One species."""

    name: str
    folder: str
    taxa: tuple[str, ...]  # of each of _RANKS


@dataclass
class _Listed:
    """The content of a JSON file. Numbers are stored in arrays, since there are millions."""

    path: Path
    files: list[str] = field(default_factory=list)
    images: array[int] = field(default_factory=lambda: array("q"))  # id of each file
    annotated: array[int] = field(default_factory=lambda: array("q"))  # image id of each annotation
    species: array[int] = field(default_factory=lambda: array("q"))  # category id of each annotation
    categories: dict[int, _Category] = field(default_factory=dict)  # by id

    @classmethod
    def read(cls, path: Path) -> _Listed:
        """Read the file in one pass. BadRequest for an invalid entry."""
        listed = cls(path)
        for key, element in elements(path):
            try:
                listed._add(key, element)
            except ValueError as error:
                raise BadRequest(f"{path}: {key} holds {brief(element)}, which is not a valid entry: {error}") from None
        return listed

    def _add(self, key: str, element: Any) -> None:
        if key == "images":
            self.files.append(_text(element, "file_name"))
            self.images.append(_number(element, "id"))
        elif key == "annotations":
            self.annotated.append(_number(element, "image_id"))
            self.species.append(_number(element, "category_id"))
        elif key == "categories":
            number = _number(element, "id")
            folder = _text(element, "image_dir_name") if "image_dir_name" in element else str(number)
            taxa = tuple(str(element.get(rank, "")) for rank in _RANKS)
            self.categories[number] = _Category(_text(element, "name"), folder, taxa)

    def split(self, ids: NDArray[np.int64]) -> Split:
        """Its images in the file's order; a label is the position of the category in the ascending `ids`."""
        annotated = np.asarray(self.annotated, dtype=np.int64)
        images = np.asarray(self.images, dtype=np.int64)
        order = np.argsort(annotated, kind="stable")
        places = np.searchsorted(annotated[order], images)
        places = order[np.minimum(places, len(order) - 1)] if len(order) else places
        if not len(order) or (annotated[places] != images).any():
            i = int(np.argmax(annotated[places] != images)) if len(order) else 0
            raise BadRequest(f"{self.path}: image {self.images[i]} ({self.files[i]}) has no annotation")
        species = np.asarray(self.species, dtype=np.int64)[places]
        labels = np.minimum(np.searchsorted(ids, species), len(ids) - 1)
        if (ids[labels] != species).any():
            i = int(np.argmax(ids[labels] != species))
            raise BadRequest(f"{self.path}: {self.files[i]} is of category {species[i]}, which is not listed")
        return Split(tuple(self.files), labels.astype(np.int64))


def _field(element: Any, name: str) -> Any:
    if not (isinstance(element, dict) and name in element):
        raise ValueError(f"{name} is missing")
    return element[name]


def _text(element: Any, name: str) -> str:
    value = _field(element, name)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text (got {brief(value)})")
    return value


def _number(element: Any, name: str) -> int:
    try:
        return whole(_field(element, name))
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of iNaturalist 2021. BadRequest if the lists are missing or contradict each other."""
    root = require("inat2021", spec.root)
    lists = {"train": _training_list(root), "test": root / "val.json"}
    listed = {name: _Listed.read(path) for name, path in lists.items()}
    categories = listed["train"].categories | listed["test"].categories
    ids = sorted(categories)
    names, folders = [categories[key].name for key in ids], [categories[key].folder for key in ids]
    classes = unique_names(folders, names)
    columns = {level: [categories[key].taxa[place] for key in ids] for place, level in enumerate(_LEVELS)}
    train, test = (listed[name].split(np.array(ids, dtype=np.int64)) for name in ("train", "test"))
    index = DatasetIndex(name="inat2021", root=root, classes=classes, train=train, test=test)
    if all(all(column) for column in columns.values()):
        index = replace(index, taxonomy=Taxonomy.of_columns(classes, columns))
    return checked(index, {name: path.name for name, path in lists.items()})


def _training_list(root: Path) -> Path:
    for name in ("train.json", "train_mini.json"):
        if (root / name).is_file() and (root / name.removesuffix(".json")).is_dir():
            return root / name
    raise BadRequest(f"{root}: has no train.json with a folder train, nor train_mini.json with train_mini")
