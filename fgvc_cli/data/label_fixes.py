"""Corrections of labels in a CSV file: the user's images stay as they are."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from fgvc_cli.csv_text import original
from fgvc_cli.data.alike import Alike
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import read_text

_IMAGE, _LABEL = ("image", "path"), ("label", "corrected")  # names that the columns may have
LEAVE_OUT = "-"  # in the place of a class: the image is of none


def fix_labels(index: DatasetIndex, file: Path) -> DatasetIndex:
    """The index with the labels that a file corrects; images corrected to `-` are left out.

    The file has a header with the columns image (a path relative to the dataset's folder) and label (a class, or `-`);
    rows without a label, and other columns, are ignored: so the list of `fgvc check-labels` can be filled in.

    Raises:
        BadRequest: the file cannot be read, or names an image or a class that the dataset does not have.
    """
    wanted = _read(file, Alike(index.classes))
    known = Alike(name for split in index.splits().values() for name in split.files)
    fixes: dict[str, str] = {}
    for line, image, label in wanted:
        there = known.find(image)
        if there is None:
            raise BadRequest(f"{file}, line {line}: the dataset has no image {image!r}{known.hint(image)}")
        fixes[there] = label
    number = {name: label for label, name in enumerate(index.classes)} | {LEAVE_OUT: -1}

    def fixed(split: Split) -> Split:
        labels = np.array(
            [
                number[fixes[name]] if name in fixes else label
                for name, label in zip(split.files, split.labels.tolist(), strict=True)
            ],
            dtype=np.int64,
        )
        return replace(split, labels=labels).take(np.flatnonzero(labels >= 0))

    parts = {name: fixed(split) for name, split in index.splits().items()}
    note = f"labels of {len(fixes)} images corrected by {file.name}"
    return replace(index, train=parts["train"], test=parts["test"], val=parts.get("val"), notes=(*index.notes, note))


def _read(file: Path, classes: Alike) -> list[tuple[int, str, str]]:
    """Line, image and class of each correction."""
    try:
        rows = csv.DictReader(io.StringIO(read_text(file, errors="surrogateescape", newline="")))
        names = rows.fieldnames or []
        image = next((name for name in _IMAGE if name in names), None)
        label = next((name for name in _LABEL if name in names), None)
        if image is None or label is None:
            raise BadRequest(f"{file}: needs the columns image and label (has {', '.join(names) or 'none'})")
        found = [
            (line, original(row[image] or ""), original((row[label] or "").strip())) for line, row in enumerate(rows, 2)
        ]
    except OSError as error:
        raise BadRequest(f"cannot read {file}: {error.strerror or error}") from None
    except csv.Error as error:
        raise BadRequest(f"{file}: is no CSV file: {error}") from None
    return [(line, path, _class(file, line, name, classes)) for line, path, name in found if name]


def _class(file: Path, line: int, name: str, classes: Alike) -> str:
    there = name if name == LEAVE_OUT else classes.find(name)
    if there is None:
        raise BadRequest(f"{file}, line {line}: the dataset has no class {name!r}{classes.hint(name)}")
    return there
