"""Splits drawn by fgvc: validation and test splits stratified by class, limits, and the record of splits in a run.

Images are sorted by random numbers of numpy's RandomState, whose stream numpy keeps frozen: a seed gives the same split
on every machine and with every version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.alike import Alike
from fgvc_cli.data.groups import group_codes, grouped_holdout
from fgvc_cli.data.left_out import leave_out, without
from fgvc_cli.data.taxonomy import CLASS, Taxonomy
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DataSpec

Positions = NDArray[np.int64]
_HOLDOUT, _LIMIT = 1, 2  # first seed word: each purpose has its own random stream


def _ranked(labels: Positions, seed: int, purpose: int) -> tuple[Positions, NDArray[np.float64]]:
    """Each image's 0-based rank in a random order of its class, and its random number: (N,) each."""
    words = [purpose, seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    keys = np.random.RandomState(words).random_sample(len(labels))
    order = np.lexsort((keys, labels))
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - starts[labels[order]]
    return ranks, keys


def stratified_holdout(labels: Positions, fraction: float, seed: int) -> tuple[Positions, Positions]:
    """Positions kept and positions held out, each ascending, from labels (N,) in 0..K-1.

    Of the n images of a class, round(n × fraction) are held out, at least 1 and at most n - 1. A single image is kept.
    """
    if not len(labels):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    ranks, _ = _ranked(labels, seed, _HOLDOUT)
    mask = ranks < _share(labels, fraction)[labels]
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def _share(labels: Positions, fraction: float) -> Positions:
    """The number of images of each class to hold out, (K,)."""
    counts = np.bincount(labels)
    share: Positions = np.clip(np.floor(counts * fraction + 0.5).astype(np.int64), 1, np.maximum(counts - 1, 0))
    return share


def hold_out(
    root: Path, split: Split, classes: Sequence[str], fraction: float, spec: DataSpec
) -> tuple[Positions, Positions]:
    """Positions of a split kept and positions held out, by class, and also by group if the spec names groups."""
    if spec.group_by is None or not len(split):
        return stratified_holdout(split.labels, fraction, spec.split_seed)
    groups = group_codes(spec.group_by, root, split, classes)
    return grouped_holdout(split.labels, groups, _share(split.labels, fraction), spec.split_seed)


def limit(split: Split, count: int | None, seed: int = 0) -> Split:
    """`count` images in their order, spread over the classes as evenly as possible; all if there are no more."""
    if count is None or count >= len(split):
        return split
    return split.take(np.sort(spread_order(split.labels, seed)[:count]))


def spread_order(labels: Positions, seed: int = 0) -> Positions:
    """(N,) positions; for every n, the first n are spread over the classes of `labels` (N,) as evenly as possible."""
    ranks, keys = _ranked(labels, seed, _LIMIT)
    return np.lexsort((keys, ranks))


def apply_spec(index: DatasetIndex, spec: DataSpec) -> DatasetIndex:
    """The index with a validation split held out of train and with limits applied. A second call changes nothing.

    The validation split is drawn before train is limited, so it does not depend on the limit. An existing one (the
    folder's own, or a run's recorded one) is kept. BadRequest if the classes are in doubt: those of a run that exists
    are not.
    """
    if index.doubt:
        raise BadRequest(index.doubt)
    index = leave_out(index, spec)
    index = _hold_out_val(index, spec)
    notes = index.notes
    if spec.group_by and not index.drawn:
        notes += ("group_by changes nothing: fgvc draws no split here (--val-fraction draws one)",)
    train = limit(index.train, spec.limit_train, spec.split_seed)
    lost = len(np.unique(index.train.labels)) - len(np.unique(train.labels))
    if lost:
        notes += (
            f"limit_train {spec.limit_train} leaves {lost} of {len(index.classes)} classes without a training image",
        )
    return replace(index, train=train, test=limit(index.test, spec.limit_test, spec.split_seed), notes=notes)


def _hold_out_val(index: DatasetIndex, spec: DataSpec) -> DatasetIndex:
    if spec.val_fraction == 0 or index.val is not None:
        return index
    kept, held = hold_out(index.root, index.train, index.classes, spec.val_fraction, spec)
    if not len(held):
        things = "groups of training images" if spec.group_by else "training images"
        raise BadRequest(
            f"val_fraction: no class has two {things}, so none can be held out: add images, or leave val_fraction out"
        )
    return replace(index, train=index.train.take(kept), val=index.train.take(held), drawn=True)


def split_record(index: DatasetIndex) -> dict[str, Any]:
    """A run's splits as JSON: the classes, and the files of each split relative to the index's root."""
    splits = {name: list(split.files) for name, split in index.splits().items()}
    record: dict[str, Any] = {"classes": list(index.classes), "splits": splits}
    return record | ({} if index.left_out is None else {"left_out": list(index.left_out.classes)})


def apply_record(index: DatasetIndex, record: dict[str, Any]) -> DatasetIndex:
    """The index with the recorded splits; files added since are not used. BadRequest names a file that is missing."""
    classes = tuple(record["classes"])
    known = Alike(index.classes)
    gone = [found for name in record.get("left_out", ()) if (found := known.find(name)) is not None]
    if gone:
        index = without(index, gone)
    # Class folders may have been added since: labels are positions in the record's classes.
    label_of = {name: label for label, name in enumerate(classes)}
    known = Alike(classes)
    relabel = np.array([label_of.get(known.find(name) or name, -1) for name in index.classes], dtype=np.int64)
    pool = _joined(list(index.splits().values()))
    pool = replace(pool, labels=relabel[pool.labels])
    position_of = {file: i for i, file in enumerate(pool.files)}
    splits = {name: pool.take(_positions(index, files, position_of)) for name, files in record["splits"].items()}
    for split in splits.values():
        if (split.labels < 0).any():
            file = split.files[int(np.argmin(split.labels))]
            raise BadRequest(f"{index.root / file}: its class is not one of the run's classes; put the file back")
    unused = len(pool) - sum(len(split) for split in splits.values())
    note = (f"{unused} images that are not in the run's splits are not used",) if unused else ()
    return replace(
        index,
        classes=classes,
        train=splits["train"],
        test=splits["test"],
        val=splits.get("val"),
        drawn=True,
        taxonomy=None if index.taxonomy is None else index.taxonomy.for_classes(classes),
        notes=index.notes + note,
        doubt=None,
    )


def _joined(splits: list[Split]) -> Split:
    """All images in one split; boxes and parts if every split has them."""
    boxes = [split.boxes for split in splits if split.boxes is not None]
    parts = [split.parts for split in splits if split.parts is not None]
    return Split(
        files=tuple(file for split in splits for file in split.files),
        labels=np.concatenate([split.labels for split in splits]),
        boxes=np.concatenate(boxes) if len(boxes) == len(splits) else None,
        parts=np.concatenate(parts) if len(parts) == len(splits) else None,
    )


def _positions(index: DatasetIndex, files: list[str], position_of: dict[str, int]) -> Positions:
    known = Alike(position_of)
    there = [file if file in position_of else known.find(file) for file in files]
    for file, found in zip(files, there, strict=True):
        if found is None:
            raise BadRequest(
                f"{index.root / file}: is missing, but the run was made with it; put it back{known.hint(file)}"
            )
    return np.array([position_of[found] for found in there if found is not None], dtype=np.int64)


def at_level(index: DatasetIndex, level: str) -> DatasetIndex:
    """The index with the taxa of a level as its classes, the levels above as its tree. BadRequest: no such level."""
    tree = index.taxonomy
    if tree is None:
        raise BadRequest(f"level {level}: {index.name} has no levels; --taxonomy FILE names a tree of its classes")
    if level == CLASS:
        return index
    if level not in tree.levels:
        raise BadRequest(f"level {level}: choose {', '.join(tree.levels)} or {CLASS}")
    place = tree.levels.index(level)
    code = tree.codes[place]
    first = [int(np.argmax(code == number)) for number in range(len(tree.names[place]))]

    def relabelled(split: Split) -> Split:
        return Split(split.files, code[split.labels], split.boxes, split.parts)

    classes = tree.names[place]
    above = Taxonomy(tree.levels[:place], classes, tuple(tree.paths[one][:place] for one in first))
    parts = {name: relabelled(split) for name, split in index.splits().items()}
    return replace(
        index,
        classes=classes,
        train=parts["train"],
        test=parts["test"],
        val=parts.get("val"),
        part_options=(),
        taxonomy=above if above.levels else None,
    )
