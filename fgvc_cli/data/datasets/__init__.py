"""Name of a dataset → its index: which images there are, their classes, splits, boxes and parts.

A new dataset is a file with one function, a line in the table, its facts in `fgvc_cli/data/catalog.py` and its name in
`fgvc_cli/spec/data.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fgvc_cli.data.datasets import aircraft, cars, cub, demo, folder
from fgvc_cli.data.datasets.common import class_notes
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.spec.data import DatasetName, DataSpec

Progress = Callable[[int, int], Any]

_LOADERS: dict[DatasetName, Callable[[DataSpec, Progress | None], DatasetIndex]] = {
    "demo": demo.load,
    "cub": cub.load,
    "cars": cars.load,
    "aircraft": aircraft.load,
    "folder": folder.load,
}


def load_index(spec: DataSpec, *, progress: Progress | None = None) -> DatasetIndex:
    """The dataset that `spec` names, with all its images; `splits.apply_spec` then holds out val and limits.

    `progress` is handed to what takes long: drawing the demo. BadRequest, one line, where data are missing or labels
    contradict each other.
    """
    index = _LOADERS[spec.dataset](spec, progress)
    return replace(index, notes=index.notes + class_notes(index))
