"""NABirds: 555 kinds of North American birds, some of one species in different plumage, with boxes and 11 parts.

The classes are those that have images. They are the leaves of a tree of 1011 nodes, so their ids have gaps; labels
follow the ids' order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from fgvc_cli.data.catalog import require
from fgvc_cli.data.formats.id_lists import LABELS, class_number, index_of_lists
from fgvc_cli.data.formats.lists import Line, read_table
from fgvc_cli.data.taxonomy import Taxonomy, climbed
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.values import brief


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of nabirds; boxes and parts if their files exist. BadRequest if the lists contradict each other."""
    root = require("nabirds", spec.root)
    names = read_table(root / "classes.txt")
    used = {line.text: line for line in read_table(root / LABELS).values()}
    ids = sorted(used, key=lambda key: class_number(key, used[key]))
    for key in ids:
        if key not in names:
            raise used[key].wrong(f"class {brief(key)} is not in classes.txt")
    index = index_of_lists("nabirds", root, _named(root, ids, names))
    return replace(index, taxonomy=_tree(root, ids, names, index.classes))


def _tree(root: Path, ids: list[str], names: dict[str, Line], classes: tuple[str, ...]) -> Taxonomy:
    """The hierarchy above the classes; nodes have numbers in the file, and may share a name."""
    parent = {key: line.text for key, line in read_table(root / "hierarchy.txt").items()}
    try:
        paths = [climbed(key, parent) for key in ids]
    except ValueError as error:
        raise BadRequest(f"{root / 'hierarchy.txt'}: {error}") from None
    return Taxonomy.of_parents(classes, [tuple(names[k].text if k in names else k for k in path) for path in paths])


def _named(root: Path, ids: list[str], names: dict[str, Line]) -> dict[str, str]:
    """Class id → name. A name of two classes is extended by the parent class's name, then by the id if necessary."""
    parents = read_table(root / "hierarchy.txt")  # child parent
    above = {key: names[line.text].text for key, line in parents.items() if line.text in names}
    named = {key: names[key].text for key in ids}
    for add in (lambda key: above.get(key, "?"), str):
        times = Counter(named.values())
        named = {key: name if times[name] == 1 else f"{name} ({add(key)})" for key, name in named.items()}
    return named
