"""Shared by the loaders of a user's own images, in folders or a CSV file: a missing test split is drawn."""

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


@dataclass(frozen=True)
class Own:
    """A user's images in their splits, and the words that messages use for the layout."""

    name: DatasetName
    root: Path
    source: Path  # the folder or file that messages name
    classes: tuple[str, ...]
    splits: Mapping[str, Split]  # train; val and test if the user has them
    where: str  # where all images are if there is only train, such as "one folder"
    splitter: str  # what makes a split, such as "folder"
    notes: tuple[str, ...] = ()
    doubt: str | None = None  # why its classes may be none


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key for natural order: 2 before 10."""
    words = re.split(r"([0-9]+)", name)
    return [(1, int(word), "") if i % 2 else (2, 0, word.casefold()) for i, word in enumerate(words) if word], name


def own_index(own: Own, spec: DataSpec) -> DatasetIndex:
    """The index. Validation replaces a missing test split; if both are missing, test is held out of train.

    BadRequest if no image can be held out for testing.
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
    """The index with a part of each class held out for testing."""
    kept, held = hold_out(own.root, whole, own.classes, spec.test_fraction, spec)
    if not len(held):
        each = "is one group" if spec.group_by else "has one image"
        raise BadRequest(
            f"{own.source}: nothing is left for testing, since each class {each} only; "
            f"add images or a test {own.splitter}"
        )
    how = "class, group and seed" if spec.group_by else "class and seed"
    note = f"the images are in {own.where}: {len(held)} of {len(whole)} are held out for testing, by {how}"
    notes = (*own.notes, note, *_single_image_note(own.classes, whole))
    train, test = whole.take(kept), whole.take(held)
    return DatasetIndex(own.name, own.root, own.classes, train, test, drawn=True, notes=notes, doubt=own.doubt)


def _single_image_note(classes: Sequence[str], whole: Split) -> tuple[str, ...]:
    single = np.flatnonzero(np.bincount(whole.labels, minlength=len(classes)) == 1)
    if not len(single):
        return ()
    return (f"{len(single)} classes have one image only and are not tested (first: {classes[single[0]]})",)
