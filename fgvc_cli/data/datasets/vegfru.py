"""VegFru and its two parts, Veg200 and Fru92: the official training, validation and test lists.

A line is `class/file label`, where the class, a folder's name, may hold spaces. Labels are taken from the lists and
may start at any number. In VegFru the vegetables come first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fgvc_cli.data.catalog import require
from fgvc_cli.data.formats.index import checked
from fgvc_cli.data.formats.lists import Line, named_labels, read_lines, unique_names
from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.values import brief

_PARTS = {"vegfru": ("veg200", "fru92"), "veg200": ("veg200",), "fru92": ("fru92",)}
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class _Part:
    """Vegetables or fruits: class names in label order, and the splits that have a list."""

    kind: str
    classes: tuple[str, ...]
    splits: dict[str, Split]


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of vegfru, veg200 or fru92. BadRequest if the lists are missing or contradict each other."""
    root = require(spec.dataset, spec.root)
    parts = [_part(root, part) for part in _PARTS[spec.dataset]]
    names = [name for part in parts for name in part.classes]
    longer = [f"{name} ({part.kind})" for part in parts for name in part.classes]
    kinds = [part.kind for part in parts for _ in part.classes]
    splits = {name: _together(parts, name) for name in _SPLITS if all(name in part.splits for part in parts)}
    index = DatasetIndex(
        name=spec.dataset,
        root=root,
        classes=unique_names(longer, names),
        train=splits["train"],
        val=splits.get("val"),
        test=splits["test"],
        taxonomy=Taxonomy.of_columns(unique_names(longer, names), {"kind": kinds}) if len(parts) > 1 else None,
    )
    prefixes = [part[:3] for part in _PARTS[spec.dataset]]
    return checked(index, {name: " and ".join(f"{prefix}_{name}.txt" for prefix in prefixes) for name in _SPLITS})


def _part(root: Path, part: str) -> _Part:
    """Read `veg200` or `fru92`; the validation list may be missing."""
    folder = root / f"{part}_lists"
    lists = {name: folder / f"{part[:3]}_{name}.txt" for name in _SPLITS}
    lines = {name: list(read_lines(path)) for name, path in lists.items() if name != "val" or path.is_file()}
    entries = [(*_entry(line), line) for found in lines.values() for line in found]
    names, labels = named_labels(
        [file.rpartition("/")[0] for file, _, _ in entries],
        [label for _, label, _ in entries],
        lambda i, what: entries[i][2].wrong(what),
    )
    whole = Split(tuple(f"{part}_images/{file}" for file, _, _ in entries), labels)
    ends = np.cumsum([len(found) for found in lines.values()])
    starts = [0, *ends[:-1]]
    splits = {name: whole.take(np.arange(a, b)) for name, a, b in zip(lines, starts, ends, strict=True)}
    kind = "vegetable" if part == "veg200" else "fruit"
    return _Part(kind, unique_names(names, [name.replace("_", " ") for name in names]), splits)


def _entry(line: Line) -> tuple[str, int]:
    """Path and label of a line."""
    file, _, label = line.text.rpartition(" ")
    file = file.strip().replace("\\", "/").removeprefix("./")
    if "/" not in file or not label.isdecimal():
        raise line.wrong(f"expected class/file and a number, found {brief(line.text)}")
    return file, replace(line, text=label).natural()


def _together(parts: list[_Part], name: str) -> Split:
    """One split of all parts; the labels of each part follow those of the part before."""
    files: tuple[str, ...] = ()
    labels = []
    first = 0
    for part in parts:
        files += part.splits[name].files
        labels.append(part.splits[name].labels + first)
        first += len(part.classes)
    return Split(files, np.concatenate(labels))
