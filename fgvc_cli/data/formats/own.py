"""What a user's own images share, in folders or in a table: the test split is drawn where there is none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgvc_cli.data.splits import hold_out
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DatasetName, DataSpec

SPLIT_OF = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}


@dataclass(frozen=True)
class Own:
    """Images as the user sorted them, and the words that messages use for how he did."""

    name: DatasetName
    root: Path
    source: Path  # the folder or file that messages name
    classes: tuple[str, ...]
    splits: Mapping[str, Split]  # train, and val and test where the user has them
    where: str  # where all the images are if there is no other split: "one folder"
    splitter: str  # what makes a split: "folder"
    notes: tuple[str, ...] = ()


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts names as people do: 2 before 10."""
    words = re.split(r"([0-9]+)", name)
    return [(1, int(word), "") if i % 2 else (2, 0, word.casefold()) for i, word in enumerate(words) if word], name


def own_index(own: Own, spec: DataSpec) -> DatasetIndex:
    """The index: validation stands in for a test split that is missing; without both, test is held out of train.

    BadRequest where nothing is left for testing.
    """
    train, val, test = (own.splits.get(name) for name in ("train", "val", "test"))
    assert train is not None
    if val is None and test is None:
        return _drawn(own, train, spec)
    notes = own.notes
    if test is None:
        test, val = val, None
        notes += (f"there is no test {own.splitter}: the validation {own.splitter} is the test split",)
    assert test is not None
    if val is not None and spec.val_fraction:
        notes += (f"the validation {own.splitter} is used, so val_fraction holds nothing out",)
    return DatasetIndex(own.name, own.root, own.classes, train, test, val, notes=notes)


def _drawn(own: Own, whole: Split, spec: DataSpec) -> DatasetIndex:
    """A part of each class held out for testing."""
    kept, held = hold_out(own.root, whole, own.classes, spec.test_fraction, spec)
    if not len(held):
        each = "is one group" if spec.group_by else "has one image"
        raise BadRequest(
            f"{own.source}: nothing is left for testing, since each class {each} only; "
            f"add images or a test {own.splitter}"
        )
    how = "class, group and seed" if spec.group_by else "class and seed"
    note = f"the images are in {own.where}: {len(held)} of {len(whole)} are held out for testing, by {how}"
    notes = (*own.notes, note, *_lonely_note(own.classes, whole))
    train, test = whole.take(kept), whole.take(held)
    return DatasetIndex(own.name, own.root, own.classes, train, test, drawn=True, notes=notes)


def _lonely_note(classes: Sequence[str], whole: Split) -> tuple[str, ...]:
    lonely = np.flatnonzero(np.bincount(whole.labels, minlength=len(classes)) == 1)
    if not len(lonely):
        return ()
    return (f"{len(lonely)} classes have one image only and are not tested (first: {classes[lonely[0]]})",)
