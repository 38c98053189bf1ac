"""A tree of classes in a CSV file of the user.

Either a header and a row for each class: `class,genus,family`, the level nearest to the class first; or the header
`child,parent` and a row for each edge, where what has no parent is the top.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

from fgvc_cli.csv_text import original
from fgvc_cli.data.alike import Alike
from fgvc_cli.data.taxonomy import CLASS, Taxonomy, climbed
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import read_text
from fgvc_cli.values import brief

_EDGES = ["child", "parent"]
_MOST_LEVELS = 64


def read_taxonomy(file: Path, classes: Sequence[str]) -> Taxonomy:
    """The tree of the classes. BadRequest, with file and line, if it is not one of exactly these classes."""
    try:
        text = read_text(file, errors="surrogateescape", newline="")
        header, *rows = [[original(cell.strip()) for cell in row] for row in csv.reader(io.StringIO(text)) if any(row)]
    except OSError as error:
        raise BadRequest(f"cannot read {file}: {error.strerror or error}") from None
    except (ValueError, csv.Error):
        raise BadRequest(f"{file}: is empty or no CSV file: it needs the columns class, genus, family, …") from None
    if [name.casefold() for name in header] == _EDGES:
        return taxonomy_of_edges(_pairs(file, rows), classes, file)
    if not header or header[0].casefold() != CLASS:
        raise BadRequest(f"{file}: the first column must be `class` (got {brief(header[0] if header else '')})")
    return _of_table(file, header[1:], rows, classes)


def _of_table(file: Path, levels: list[str], rows: list[list[str]], classes: Sequence[str]) -> Taxonomy:
    if not levels:
        raise BadRequest(f"{file}: has no level above the classes: add a column, such as genus")
    if len({*levels, CLASS, ""}) < len(levels) + 2 or len(levels) > _MOST_LEVELS:
        raise BadRequest(f"{file}: the columns need names, each another one (got {', '.join(levels)})")
    known = Alike(classes)
    found: dict[str, list[str]] = {}
    for line, row in enumerate(rows, 2):
        if len(row) != len(levels) + 1:
            raise BadRequest(f"{file}, line {line}: has {len(row)} cells, but the header has {len(levels) + 1}")
        name = known.find(row[0])
        if name is None:
            raise BadRequest(f"{file}, line {line}: the dataset has no class {row[0]!r}{known.hint(row[0])}")
        if name in found:
            raise BadRequest(f"{file}, line {line}: class {name!r} has a line already")
        found[name] = row[1:]
    _must_have_all(file, classes, found)
    _must_nest(file, levels, list(found.values()))
    columns = {level: [found[name][place] for name in classes] for place, level in enumerate(levels)}
    return _must_group(file, Taxonomy.of_columns(classes, dict(reversed(columns.items()))))


def _must_nest(file: Path, levels: list[str], rows: list[list[str]]) -> None:
    """BadRequest if a taxon has two parents."""
    for place, (lower, upper) in enumerate(pairwise(levels)):
        parent: dict[str, str] = {}
        for row in rows:
            one, above = row[place], row[place + 1]
            if one and parent.setdefault(one, above) != above:
                raise BadRequest(
                    f"{file}: {lower} {one!r} is in {upper} {parent[one]!r} and in {above!r}; the level nearest to the "
                    "class is the first column after it"
                )


def _pairs(file: Path, rows: list[list[str]]) -> dict[str, str]:
    """Child → parent; empty for the top."""
    parent: dict[str, str] = {}
    for line, row in enumerate(rows, 2):
        if len(row) != 2:
            raise BadRequest(f"{file}, line {line}: has {len(row)} cells, but the header has 2")
        if parent.setdefault(row[0], row[1]) != row[1]:
            raise BadRequest(f"{file}, line {line}: {row[0]!r} has two parents")
    return parent


def taxonomy_of_edges(parent: dict[str, str], classes: Sequence[str], file: Path) -> Taxonomy:
    """The tree of child → parent. A single top is not a level. BadRequest: a cycle, or a class is not in it."""
    _must_have_all(file, classes, parent)
    try:
        return _must_group(file, Taxonomy.of_parents(classes, [climbed(name, parent) for name in classes]))
    except ValueError as error:
        raise BadRequest(f"{file}: {error}") from None


def _must_have_all(file: Path, classes: Sequence[str], found: Collection[str]) -> None:
    missing = [name for name in classes if name not in found]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadRequest(f"{file}: class {missing[0]!r}{more} of the dataset is missing")


def _must_group(file: Path, tree: Taxonomy) -> Taxonomy:
    """BadRequest for a tree of one level: no level joins some classes and parts others."""
    sizes = [len(names) for names in tree.names[:-1]]
    if not any(1 < size < len(tree.classes) for size in sizes):
        raise BadRequest(f"{file}: no level groups the classes: all are together, or each is alone, at every level")
    return tree
