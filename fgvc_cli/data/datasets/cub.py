"""CUB-200-2011: birds with boxes and 15 part points, in the layout of the official archive."""

from __future__ import annotations

import re

from fgvc_cli.data.catalog import require
from fgvc_cli.data.formats.id_lists import class_number, index_of_lists
from fgvc_cli.data.formats.lists import read_table, unique_names
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.spec.data import DataSpec


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of CUB; boxes and parts if their files exist. BadRequest if the lists contradict each other."""
    root = require("cub", spec.root)
    classes = read_table(root / "classes.txt")
    ids = sorted(classes, key=lambda key: class_number(key, classes[key]))
    names = [classes[key].text for key in ids]
    tidy = unique_names(names, [_tidy(name) for name in names])
    return index_of_lists("cub", root, dict(zip(ids, tidy, strict=True)))


def _tidy(name: str) -> str:
    """001.Black_footed_Albatross → Black footed Albatross."""
    return re.sub(r"^\d+\.", "", name).replace("_", " ").strip()
