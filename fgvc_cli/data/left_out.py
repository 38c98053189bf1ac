"""Classes that a run leaves out of its training, so that their images can play unknown ones in evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.alike import Alike
from fgvc_cli.data.types import DatasetIndex, LeftOut, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded, read_text
from fgvc_cli.spec.data import DataSpec

_PURPOSE = 3  # first seed word, as in `fgvc_cli.data.splits`
_LEAST = 2  # classes that must remain


def leave_out(index: DatasetIndex, spec: DataSpec) -> DatasetIndex:
    """The index without the classes that `spec.leave_out` names or draws, which it keeps apart in `left_out`.

    A second call changes nothing. BadRequest: a class is unknown, or fewer than two would remain.
    """
    if spec.leave_out is None or index.left_out is not None:
        return index
    return without(index, _chosen(index.classes, spec.leave_out, spec.split_seed))


def without(index: DatasetIndex, gone: Sequence[str]) -> DatasetIndex:
    """The index without some of its classes, with those images in `left_out`; fgvc then records its splits."""
    names = frozenset(gone)
    kept = tuple(name for name in index.classes if name not in names)
    if len(kept) < _LEAST:
        raise BadRequest(f"leave_out: {len(kept)} of {len(index.classes)} classes would remain; leave out fewer")
    apart = tuple(name for name in index.classes if name in names)
    parts = {name: _Parted.of(split, index.classes, kept, apart) for name, split in index.splits().items()}
    options = tuple(
        options
        for name, options in zip(index.classes, index.part_options, strict=bool(index.part_options))
        if name in kept
    )
    return replace(
        index,
        classes=kept,
        train=parts["train"].kept,
        test=parts["test"].kept,
        val=parts["val"].kept if "val" in parts else None,
        part_options=options,
        taxonomy=None if index.taxonomy is None else index.taxonomy.for_classes(kept),
        left_out=LeftOut(apart, {name: part.apart for name, part in parts.items()}),
        drawn=True,
    )


@dataclass(frozen=True)
class _Parted:
    """A split in two: the images of classes that are kept, and of those apart; labels are positions in either."""

    kept: Split
    apart: Split

    @classmethod
    def of(cls, split: Split, classes: Sequence[str], kept: Sequence[str], apart: Sequence[str]) -> _Parted:
        def chosen(names: Sequence[str]) -> Split:
            number = {name: label for label, name in enumerate(names)}
            labels: NDArray[np.int64] = np.array([number.get(name, -1) for name in classes], dtype=np.int64)
            part = split.take(np.flatnonzero(labels[split.labels] >= 0))
            return replace(part, labels=labels[part.labels])

        return cls(chosen(kept), chosen(apart))


def _chosen(classes: Sequence[str], wish: int | str, seed: int) -> list[str]:
    """The classes: a number is drawn by the seed; a text is names between commas, or a file with one in each line."""
    if isinstance(wish, int):
        if wish > len(classes) - _LEAST:
            raise BadRequest(f"leave_out: {wish} of {len(classes)} classes; at least {_LEAST} must remain")
        words = [_PURPOSE, seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
        return [classes[place] for place in np.random.RandomState(words).permutation(len(classes))[:wish]]
    file = expanded(wish)
    names = _lines(file) if file.is_file() else [name.strip() for name in wish.split(",")]
    return known_names([name for name in names if name], classes, "leave_out: ")


def known_names(names: Sequence[str], classes: Sequence[str], before: str) -> list[str]:
    """The classes that the names mean; case and blanks may differ. BadRequest for a name that is none: `before` it."""
    known = Alike(classes)
    found = []
    for name in names:
        there = known.find(name)
        if there is None:
            raise BadRequest(f"{before}there is no class {name!r}{known.hint(name)}")
        found.append(there)
    return found


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in read_text(file, errors="surrogateescape").splitlines()]
    except OSError as error:
        raise BadRequest(f"leave_out: cannot read {file}: {error.strerror or error}") from None
