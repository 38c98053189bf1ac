"""Oxford-IIIT Pets: 37 breeds of cats and dogs. The true box encloses the animal in its trimap.

Head boxes (annotations/xmls) are not used: test images have none. The folders also hold files that are in no list;
only listed images are used.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fgvc_cli.data.catalog import require
from fgvc_cli.data.formats.index import checked
from fgvc_cli.data.formats.lists import Line, named_labels, read_table
from fgvc_cli.data.formats.surveyed import box_of_mask, with_surveyed_boxes
from fgvc_cli.data.images.survey import Progress
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.spec.data import DataSpec

_LISTS = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}
_TRIMAPS = "annotations/trimaps"
_BACKGROUND = 2  # the other values are 1, the animal, and 3, its border


def load(spec: DataSpec, progress: Progress | None = None) -> DatasetIndex:
    """The index of Oxford-IIIT Pets; boxes if the trimaps exist. BadRequest if the lists contradict each other."""
    root = require("pets", spec.root)
    tables = {name: read_table(root / path) for name, path in _LISTS.items()}
    images = [image for table in tables.values() for image in table]
    lines = [line for table in tables.values() for line in table.values()]
    breeds = [image.rpartition("_")[0] for image in images]
    names, labels = named_labels(breeds, list(map(_breed, lines)), lambda i, what: lines[i].wrong(what))
    whole = Split(tuple(f"images/{image}.jpg" for image in images), labels)
    train_count = len(tables["train"])
    index = DatasetIndex(
        name="pets",
        root=root,
        classes=tuple(name.replace("_", " ").title() for name in names),
        train=whole.take(np.arange(train_count)),
        test=whole.take(np.arange(train_count, len(whole))),
    )
    if (root / _TRIMAPS).is_dir():
        index = with_surveyed_boxes(
            index, "boxes of trimaps", _trimap, partial(box_of_mask, is_object=_animal), progress
        )
    return checked(index, _LISTS)


def _breed(line: Line) -> int:
    """The first of three numbers: breed, 1..37; species; breed within the species."""
    return Line(line.file, line.number, line.text.partition(" ")[0]).number_in(1, 37)


def _trimap(image: str) -> str:
    return f"{_TRIMAPS}/{Path(image).stem}.png"


def _animal(image: Image.Image) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = np.asarray(image) != _BACKGROUND
    return mask
