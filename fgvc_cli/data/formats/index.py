"""Checks of a dataset's index: images that exist, boxes that fit, notes for the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fgvc_cli.data.facts import CATALOG, DatasetFacts
from fgvc_cli.data.formats.fitting import with_true_boxes
from fgvc_cli.data.formats.on_disk import on_disk, spelling_notes
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest


def drop_missing(root: Path, split: Split, source: str) -> tuple[Split, tuple[str, ...]]:
    """The split with its files as they are spelled on disk, without those that are missing, and notes about both."""
    found = on_disk(root, split.files)
    notes = spelling_notes(split.files, found)
    missing = [i for i, file in enumerate(found) if file is None]
    kept = replace(split, files=tuple(there or file for file, there in zip(split.files, found, strict=True)))
    if not missing:
        return kept, notes
    note = f"{len(missing)} images listed in {source} are not on disk and left out (first: {split.files[missing[0]]})"
    return kept.take(np.setdiff1d(np.arange(len(kept)), missing)), (*notes, note)


def checked(index: DatasetIndex, sources: str | Mapping[str, str], level: str | None = None) -> DatasetIndex:
    """The index of an official dataset without images missing on disk, with boxes only if they fit, and with notes.

    Args:
        index: as read from the lists.
        sources: the list that names the images, or one for each split.
        level: the label level of its classes, if the dataset has levels.

    BadRequest for fewer than two classes, an empty train or test split, or two classes of the same name.
    """
    facts = CATALOG[index.name]
    kept: dict[str, Split] = {}
    notes = index.notes
    for name, split in index.splits().items():
        kept[name], more = drop_missing(index.root, split, sources if isinstance(sources, str) else sources[name])
        notes += more
    for name, what in (("train", "training"), ("test", "test")):
        if not len(kept[name]):
            raise BadRequest(f"{facts.title} in {index.root}: not one {what} image found; {_remedy(facts)}")
    twice = [name for name, times in Counter(index.classes).items() if times > 1]
    if twice:
        raise BadRequest(f"{facts.title} in {index.root}: two classes are called {twice[0]!r}")
    if len(index.classes) < 2:
        raise BadRequest(f"{facts.title} in {index.root}: {len(index.classes)} class; a classifier needs at least two")
    index = replace(index, train=kept["train"], val=kept.get("val"), test=kept["test"], notes=notes)
    return _part_note(with_true_boxes(index), facts, facts.classes_at(level))


def _remedy(facts: DatasetFacts) -> str:
    return facts.get or f"move the folder away and run `fgvc download-data {facts.name}`"


def _part_note(index: DatasetIndex, facts: DatasetFacts, classes: int | None) -> DatasetIndex:
    """The index, with a note if it is not the complete official set."""
    here = (len(index.classes), len(index.train), len(index.test))
    full = (classes, facts.train, facts.test)
    if here == full:
        return index
    note = "a part of {}: {} of {} classes, {} of {} training and {} of {} test images"
    values = [value for pair in zip(here, full, strict=True) for value in pair]
    return replace(index, notes=(*index.notes, note.format(facts.title, *values)))


def class_notes(index: DatasetIndex) -> tuple[str, ...]:
    """Notes about classes without training or test images. For a test split drawn by fgvc, the loader has a note."""
    notes = []
    effect = {"train": "they cannot be learnt", "test": "they are not measured"}
    for name in ("train",) if index.drawn else ("train", "test"):
        empty = np.setdiff1d(np.arange(len(index.classes)), index.split(name).labels)
        if len(empty):
            first = index.classes[empty[0]]
            share = f"{len(empty)} of {len(index.classes)} classes"
            notes.append(f"no {name} image in {share} (first: {first}): {effect[name]}")
    return tuple(notes)
