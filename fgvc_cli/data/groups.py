"""Groups of images that belong together (a burst, one animal). A split drawn by fgvc never divides a group.

A group is named by the image's folder, by its path and a regular expression, or by a column of a CSV file.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.alike import Alike, folded
from fgvc_cli.data.types import Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded, read_text

Positions = NDArray[np.int64]
PATH_COLUMNS = ("path", "file", "filename")
_GROUPS = 3  # first seed word; fgvc_cli.data.splits uses others


def group_codes(group_by: str, root: Path, split: Split, classes: Sequence[str]) -> Positions:
    """The group of each image of a split, (N,) in 0..G-1. The same names give the same groups on every machine.

    `group_by` is `folder`, `regex:PATTERN` or `csv:FILE:COLUMN`. BadRequest, which names an image, if the rule gives
    an image no group.
    """
    kind, _, rest = group_by.partition(":")
    if kind == "regex":
        names = _by_pattern(rest, split.files)
    elif kind == "csv":
        file, _, column = rest.rpartition(":")
        names = _by_table(expanded(file), column, root, split.files)
    else:
        names = _by_folder(root, split, classes)
    # The prefixes g and f keep an image that is its own group apart from a group with the name of its file.
    prefixed = [f"g{name}" if name else f"f{file}" for name, file in zip(names, split.files, strict=True)]
    return np.unique(prefixed, return_inverse=True)[1].astype(np.int64)


def _by_folder(root: Path, split: Split, classes: Sequence[str]) -> list[str]:
    """The image's folder if it is below the class folder; else "": the image is its own group."""
    parts = [file.split("/") for file in split.files]
    # The class folder comes first in the path, or after the folders of the split. Not every first folder of a split
    # has the name of the image's class.
    wanted = [folded(classes[label]) for label in split.labels]
    shortest = min(map(len, parts))
    fitting = (
        d for d in range(1, shortest) if all(folded(p[d - 1]) == name for p, name in zip(parts, wanted, strict=True))
    )
    depth = next(fitting, 2)
    names = ["/".join(path[:-1]) if len(path) > depth + 1 else "" for path in parts]
    if not any(names):
        raise BadRequest(
            f"group_by folder: no image in {root} lies in a folder below its class folder (first: {split.files[0]}); "
            "put each group into one, or use regex:PATTERN or csv:FILE:COLUMN"
        )
    return names


def _by_pattern(pattern: str, files: Sequence[str]) -> list[str]:
    """The text matched by the expression's first group, or by the whole expression if it has no group."""
    matches = [re.search(pattern, file) for file in files]
    names = [(match[1] if match.re.groups else match[0]) or "" if match else "" for match in matches]
    _all_found(names, files, f"group_by: {pattern!r} matches no text in the path of")
    return names


def _by_table(file: Path, column: str, root: Path, files: Sequence[str]) -> list[str]:
    """The entry of each image's row; "": the image is its own group."""
    table = _read_table(file, column)
    known = Alike(table)
    found = [table.get(known.find(name) or name) for name in files]
    rows = ["row" if name is not None else "" for name in found]
    _all_found(rows, files, f"{file}: has no row (paths are relative to {root}) for")
    return [name or "" for name in found]


def _all_found(names: Sequence[str], files: Sequence[str], what: str) -> None:
    missing = [file for name, file in zip(names, files, strict=True) if not name]
    if missing:
        raise BadRequest(f"{what} {len(missing)} of {len(files)} images (first: {missing[0]})")


def _read_table(file: Path, column: str) -> dict[str, str]:
    """Path → entry of `column`. BadRequest if a column is missing, or if an image is in two groups."""
    try:
        text = read_text(file, "utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadRequest(
            f"{file}: cannot be read as a CSV file ({reason}); the form is --group-by csv:FILE:COLUMN"
        ) from None
    header = [name.strip() for name in rows[0]] if rows else []
    place = next((i for i, name in enumerate(header) if name.lower() in PATH_COLUMNS), None)
    if place is None or column not in header:
        wanted = repr(column) if place is not None else f"called {', '.join(PATH_COLUMNS)} for the image"
        raise BadRequest(f"{file}: has no column {wanted}; its columns are {', '.join(header) or 'none'}")
    entry = header.index(column)
    table: dict[str, str] = {}
    for row in rows[1:]:
        if len(row) <= max(place, entry):
            continue
        name = row[place].strip().replace("\\", "/").removeprefix("./")
        if table.setdefault(name, row[entry].strip()) != row[entry].strip():
            raise BadRequest(f"{file}: puts {name} into two groups, {table[name]!r} and {row[entry].strip()!r}")
    return table


# ---- the split


def grouped_holdout(labels: Positions, groups: Positions, wanted: Positions, seed: int) -> tuple[Positions, Positions]:
    """Positions kept and positions held out, each ascending. Whole groups are held out.

    labels (N,) in 0..K-1, groups (N,) in 0..G-1; a group may hold several classes. The held-out images come as near to
    `wanted` (K,) images per class as the groups allow. Groups are visited in random order, and a group is held out if
    that brings the counts of its classes nearer to `wanted`. Then each class without a held-out image gets the group
    of the lowest cost. Each class keeps at least one image.
    """
    holdout = _Holdout.of(labels, groups, wanted)
    generator = np.random.RandomState([_GROUPS, seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF])
    order = generator.permutation(len(holdout.counts))
    for group in order:
        if holdout.cost_of(group) < 0:
            holdout.take(group)
    for label in np.flatnonzero(wanted):
        if holdout.held[label] == 0:
            fitting = [group for group in order if label in holdout.counts[group] and holdout.cost_of(group) < np.inf]
            if fitting:
                holdout.take(min(fitting, key=holdout.cost_of))
    mask = holdout.taken[groups]
    return np.flatnonzero(~mask), np.flatnonzero(mask)


@dataclass
class _Holdout:
    """The images and groups held out so far."""

    counts: list[dict[int, int]]  # for each group: class → number of images
    room: NDArray[np.int64]  # (K,) how many images of each class may be held out: all but one
    wanted: NDArray[np.int64]  # (K,)
    held: NDArray[np.int64]  # (K,)
    taken: NDArray[np.bool_]  # (G,)

    @classmethod
    def of(cls, labels: Positions, groups: Positions, wanted: Positions) -> _Holdout:
        """The initial state: nothing is held out."""
        counts: list[dict[int, int]] = [{} for _ in range(int(groups.max(initial=-1)) + 1)]
        for label, group in zip(labels.tolist(), groups.tolist(), strict=True):
            counts[group][label] = counts[group].get(label, 0) + 1
        room = np.bincount(labels, minlength=len(wanted)) - 1
        return cls(counts, room, wanted, np.zeros_like(wanted), np.zeros(len(counts), dtype=bool))

    def cost_of(self, group: int) -> float:
        """Change of the distance to `wanted`, in images, if the group is held out; infinite if that empties a class."""
        cost = 0
        for label, images in self.counts[group].items():
            held, wanted = self.held[label], self.wanted[label]
            if held + images > self.room[label]:
                return np.inf
            cost += abs(held + images - wanted) - abs(held - wanted)
        return cost

    def take(self, group: int) -> None:
        """Hold this group out."""
        self.taken[group] = True
        for label, images in self.counts[group].items():
            self.held[label] += images
