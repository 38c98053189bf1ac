"""The context of a result: confidence interval, chance level, and whether runs can be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fgvc_cli.evaluation.confusion import ClassRow
from fgvc_cli.report.record import Record

_Z = 1.959964  # 95 % of a normal distribution lie within this number of standard deviations


def interval(share: float, images: int) -> tuple[float, float]:
    """The 95 % confidence interval of a fraction (0..1) of `images`: the sampling error of the images alone.

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
    """Top-1 of predictions that ignore the image, 0..1."""

    guess: float  # every class with equal probability
    commonest: float | None  # always the most frequent class


def chance(classes: int, rows: Sequence[ClassRow] | None) -> Chance:
    """The chance level of K classes; `rows` is the split's table of classes, if there is one."""
    counts = [row["images"] for row in rows or ()]
    return Chance(1 / classes, max(counts) / sum(counts) if sum(counts) else None)


def never_predicted(rows: Sequence[ClassRow]) -> list[str]:
    """Classes that have images and are never predicted."""
    return [row["class"] for row in rows if row["images"] and row["precision"] is None]


def differences(records: Sequence[Record]) -> list[str]:
    """Why the results of some runs are not of the same images and classes; empty if they are."""
    first, *others = records
    found: dict[str, None] = {}
    for other in others:
        if other.new != first.new:
            found[f"images: {_place(first)} and {_place(other)}"] = None
        elif first.new is None and other.spec.data.dataset != first.spec.data.dataset:
            found[f"datasets: {first.spec.data.dataset} and {other.spec.data.dataset}"] = None
        elif other.classes != first.classes:
            found[f"classes: {len(first.classes)} and {len(other.classes)}, or different names"] = None
        elif _images(other) != _images(first):
            found[f"{first.split} images: {_images(first)} and {_images(other)}"] = None
        elif first.new is None and _other_images(first, other):
            found[f"{first.split} images: equally many, but not the same"] = None
    return list(found)


def _place(record: Record) -> str:
    return f"{record.spec.data.dataset} {record.split}" if record.new is None else str(record.new["data"])


def _images(record: Record) -> int | None:
    return None if record.measured is None else record.measured.images


def _other_images(one: Record, other: Record) -> bool:
    """Whether two splits of equal size and dataset differ: by file names if fgvc made both splits.

    Otherwise the split is the dataset's own, and only a limit, or another root for `folder`, changes it.
    """
    if one.files is not None and other.files is not None:
        return one.files != other.files
    first, second = one.spec.data, other.spec.data
    return first.limit_test != second.limit_test or (first.dataset == "folder" and first.root != second.root)
