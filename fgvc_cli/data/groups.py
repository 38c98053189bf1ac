"""Images that belong together, a burst or an individual: in a split that fgvc draws they stay on one side.

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

from fgvc_cli.data.types import Split
from fgvc_cli.errors import BadRequest

Positions = NDArray[np.int64]
PATH_COLUMNS = ("path", "file", "filename")
_GROUPS = 3  # keeps this draw apart from those of fgvc_cli.data.splits


def group_codes(group_by: str, root: Path, split: Split, classes: Sequence[str]) -> Positions:
    """The group of each image of a split, (N,) in 0..G-1, the same for the same names on every machine.

    `group_by` is `folder`, `regex:PATTERN` or `csv:FILE:COLUMN`. BadRequest, which names an image, where the rule does
    not say which group one is in.
    """
    kind, _, rest = group_by.partition(":")
    if kind == "regex":
        names = _by_pattern(rest, split.files)
    elif kind == "csv":
        file, _, column = rest.rpartition(":")
        names = _by_table(Path(file).expanduser(), column, root, split.files)
    else:
        names = _by_folder(root, split, classes)
    # Names begin with g or f: an image that is its own group never falls together with a group called like its file.
    alone = [f"g{name}" if name else f"f{file}" for name, file in zip(names, split.files, strict=True)]
    return np.unique(alone, return_inverse=True)[1].astype(np.int64)


def _by_folder(root: Path, split: Split, classes: Sequence[str]) -> list[str]:
    """The folder an image lies in, if that is below its class folder; else the image is alone."""
    parts = [file.split("/") for file in split.files]
    # Class folders are the first, or the second below train/: then not all first ones are called like the class.
    owned = [path[0] == classes[label] for path, label in zip(parts, split.labels, strict=True)]
    depth = 1 if all(owned) else 2
    names = ["/".join(path[:-1]) if len(path) > depth + 1 else "" for path in parts]
    if not any(names):
        raise BadRequest(
            f"group_by folder: no image in {root} lies in a folder below its class folder (first: {split.files[0]}); "
            "put each group into one, or use regex:PATTERN or csv:FILE:COLUMN"
        )
    return names


def _by_pattern(pattern: str, files: Sequence[str]) -> list[str]:
    """The first group of the expression, or all that it matches."""
    matches = [re.search(pattern, file) for file in files]
    names = [(match[1] if match.re.groups else match[0]) or "" if match else "" for match in matches]
    _all_found(names, files, f"group_by: {pattern!r} matches no text in the path")
    return names


def _by_table(file: Path, column: str, root: Path, files: Sequence[str]) -> list[str]:
    """The entry of each image's row; an image whose entry is empty is alone."""
    table = _read_table(file, column)
    found = [table.get(name) for name in files]
    rows = ["row" if name is not None else "" for name in found]
    _all_found(rows, files, f"{file}: lacks the rows, by path relative to {root},")
    return [name or "" for name in found]


def _all_found(names: Sequence[str], files: Sequence[str], what: str) -> None:
    missing = [file for name, file in zip(names, files, strict=True) if not name]
    if missing:
        raise BadRequest(f"{what} of {len(missing)} of {len(files)} images (first: {missing[0]})")


def _read_table(file: Path, column: str) -> dict[str, str]:
    """Path → entry of `column`. BadRequest for a file without these columns, or that says two things of one image."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadRequest(f"{file}: is no CSV file that can be read ({reason}); --group-by csv:FILE:COLUMN") from None
    header = [name.strip() for name in rows[0]] if rows else []
    place = next((i for i, name in enumerate(header) if name.lower() in PATH_COLUMNS), None)
    if place is None or column not in header:
        wanted = repr(column) if place is not None else f"called {', '.join(PATH_COLUMNS)} for the image"
        raise BadRequest(f"{file}: has no column {wanted}; there are {', '.join(header) or 'none'}")
    entry = header.index(column)
    table: dict[str, str] = {}
    for row in rows[1:]:
        if len(row) <= max(place, entry):
            continue
        name = row[place].strip().replace("\\", "/").removeprefix("./")
        if table.setdefault(name, row[entry].strip()) != row[entry].strip():
            raise BadRequest(f"{file}: puts {name} into two groups, {table[name]!r} and {row[entry].strip()!r}")
    return table


# ---- the draw


def grouped_holdout(labels: Positions, groups: Positions, wanted: Positions, seed: int) -> tuple[Positions, Positions]:
    """Positions kept and held out, each rising: whole groups, as near to `wanted` (K,) images a class as they allow.

    labels (N,) in 0..K-1, groups (N,) in 0..G-1; a group may hold several classes. Groups are taken in a random order,
    each if that brings the classes in it nearer to their number; then, for a class that has none held out, the group
    that strays least. Each class keeps an image.
    """
    ledger = _Ledger.of(labels, groups, wanted)
    dice = np.random.RandomState([_GROUPS, seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF])
    order = dice.permutation(len(ledger.counts))
    for group in order:
        if ledger.cost_of(group) < 0:
            ledger.take(group)
    for label in np.flatnonzero(wanted):
        if ledger.held[label] == 0:
            fitting = [group for group in order if label in ledger.counts[group] and ledger.cost_of(group) < np.inf]
            if fitting:
                ledger.take(min(fitting, key=ledger.cost_of))
    mask = ledger.taken[groups]
    return np.flatnonzero(~mask), np.flatnonzero(mask)


@dataclass
class _Ledger:
    """What is held out so far."""

    counts: list[dict[int, int]]  # of each group: class → images
    room: NDArray[np.int64]  # (K,) images that may be held out of each class: all but one
    wanted: NDArray[np.int64]  # (K,)
    held: NDArray[np.int64]  # (K,)
    taken: NDArray[np.bool_]  # (G,)

    @classmethod
    def of(cls, labels: Positions, groups: Positions, wanted: Positions) -> _Ledger:
        """Nothing is held out."""
        counts: list[dict[int, int]] = [{} for _ in range(int(groups.max(initial=-1)) + 1)]
        for label, group in zip(labels.tolist(), groups.tolist(), strict=True):
            counts[group][label] = counts[group].get(label, 0) + 1
        room = np.bincount(labels, minlength=len(wanted)) - 1
        return cls(counts, room, wanted, np.zeros_like(wanted), np.zeros(len(counts), dtype=bool))

    def cost_of(self, group: int) -> float:
        """By how many images taking the group leads away from what is wanted; infinite where a class has no room."""
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
