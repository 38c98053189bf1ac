"""The loader of each dataset: it makes the index of images, classes, splits, boxes and parts.

A new dataset is a file with one function, a line in the table, its facts in `fgvc_cli/data/facts.py` and its name in
`fgvc_cli/spec/data.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fgvc_cli.data.alike import Alike
from fgvc_cli.data.datasets import (
    aircraft,
    cars,
    csvfile,
    cub,
    demo,
    dogs,
    flowers,
    folder,
    food101,
    inat2021,
    nabirds,
    pets,
    vegfru,
)
from fgvc_cli.data.formats.index import class_notes
from fgvc_cli.data.images.survey import Progress
from fgvc_cli.data.label_fixes import fix_labels
from fgvc_cli.data.labelled import Labelled
from fgvc_cli.data.splits import at_level
from fgvc_cli.data.taxonomy_file import read_taxonomy
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded, is_text
from fgvc_cli.spec.data import OWN_LEVELS, DatasetName, DataSpec

_LOADERS: dict[DatasetName, Callable[[DataSpec, Progress | None], DatasetIndex]] = {
    "demo": demo.load,
    "cub": cub.load,
    "cars": cars.load,
    "aircraft": aircraft.load,
    "flowers": flowers.load,
    "vegfru": vegfru.load,
    "veg200": vegfru.load,
    "fru92": vegfru.load,
    "dogs": dogs.load,
    "pets": pets.load,
    "food101": food101.load,
    "inat2021": inat2021.load,
    "nabirds": nabirds.load,
    "folder": folder.load,
    "csv": csvfile.load,
}


def load_index(spec: DataSpec, *, progress: Progress | None = None) -> DatasetIndex:
    """The dataset that `spec` names, with all its images; `splits.apply_spec` then holds out val and applies limits.

    `progress(what, done, total)` is called during slow work: drawing the demo, reading thousands of masks. BadRequest,
    one line, if data are missing or labels contradict each other.
    """
    index = _LOADERS[spec.dataset](spec, progress)
    _must_be_text(index)
    if spec.label_fixes is not None:
        index = fix_labels(index, expanded(spec.label_fixes))
    if spec.taxonomy is not None:
        index = replace(index, taxonomy=read_taxonomy(expanded(spec.taxonomy), index.classes))
    if spec.level is not None and spec.dataset not in OWN_LEVELS:
        index = at_level(index, spec.level)
    return replace(index, notes=index.notes + class_notes(index))


def _must_be_text(index: DatasetIndex) -> None:
    """BadRequest for a class whose name is not UTF-8: pictures, pages and models hold class names as text.

    File names need not be text: they are recorded byte by byte.
    """
    for name in index.classes:
        if not is_text(name):
            raise BadRequest(f"{index.root}: the class name {name!r} is not UTF-8: rename it")


def list_labelled(spec: DataSpec, known: Alike) -> Labelled:
    """A user's labelled images, in a folder or a CSV file, without the demands that training makes of them.

    `known`: the classes of the model, by which a folder is told to be a class or a split. BadRequest if there are none.
    """
    return csvfile.labelled(spec) if spec.dataset == "csv" else folder.labelled(spec, known)
