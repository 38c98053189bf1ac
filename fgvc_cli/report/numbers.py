"""Small facts around a measurement: how sure it is, what guessing gives, whether two can be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fgvc_cli.evaluation.confusion import ClassRow
from fgvc_cli.report.record import Record

_Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations


def interval(share: float, images: int) -> tuple[float, float]:
    """The 95 % interval of a share (0..1) of so many images: what another draw of images alone could change.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 22 (1927)
    """
    if images <= 0:
        return 0.0, 1.0
    spread = _Z * _Z / images
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / images + spread / (4 * images))
    return max(middle - half, 0.0), min(middle + half, 1.0)


@dataclass(frozen=True)
class Chance:
    """What answers that do not look at the image would reach, 0..1."""

    guess: float  # every class equally often
    commonest: float | None  # always the class with the most images


def chance(classes: int, rows: Sequence[ClassRow] | None) -> Chance:
    """Of K classes, with the rows of a split's table of classes where there is one."""
    counts = [row["images"] for row in rows or ()]
    return Chance(1 / classes, max(counts) / sum(counts) if sum(counts) else None)


def never_predicted(rows: Sequence[ClassRow]) -> list[str]:
    """Classes that have images and that the model never answers."""
    return [row["class"] for row in rows if row["images"] and row["precision"] is None]


def differences(records: Sequence[Record]) -> list[str]:
    """Why the numbers of some runs are not of the same images and classes; empty where they are."""
    first, *others = records
    found: dict[str, None] = {}
    for other in others:
        if other.spec.data.dataset != first.spec.data.dataset:
            found[f"datasets: {first.spec.data.dataset} and {other.spec.data.dataset}"] = None
        elif other.classes != first.classes:
            found[f"classes: {len(first.classes)} and {len(other.classes)}, or other names"] = None
        elif _images(other) != _images(first):
            found[f"{first.split} images: {_images(first)} and {_images(other)}"] = None
        elif _other_images(first, other):
            found[f"{first.split} images: as many, but others"] = None
    return list(found)


def _images(record: Record) -> int | None:
    return None if record.measured is None else record.measured.images


def _other_images(one: Record, other: Record) -> bool:
    """Whether as many images of the same dataset are others: by their names where fgvc drew both splits.

    Else a split is that of the dataset, which only a limit, or for `folder` another folder, changes.
    """
    if one.files is not None and other.files is not None:
        return one.files != other.files
    first, second = one.spec.data, other.spec.data
    return first.limit_test != second.limit_test or (first.dataset == "folder" and first.root != second.root)
