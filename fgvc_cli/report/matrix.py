"""The confusion matrix as SVG: one path a shade, so that a thousand classes stay light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fgvc_cli.evaluation.confusion import DENSE_CLASSES, Confusion

SHADES = 8
LONGEST_NAME = 22  # letters
NAMED = 40  # up to so many classes the names stand beside the matrix, and the counts in its cells


@dataclass(frozen=True)
class Matrix:
    """Where the cells of each shade are; a cell is 1 × 1, true classes downwards, predicted ones to the right."""

    size: int
    right: list[str]  # SVG's `d` of the diagonal's cells, faintest shade first
    wrong: list[str]  # of all others
    cells: list[list[int]]  # true, predicted, images; all that are not zero
    named: bool
    margin: int  # for the names
    dark: list[bool]  # of each cell: whether its shade asks for a light number


def matrix(confusion: Confusion) -> Matrix | None:
    """The matrix of up to 1,000 classes; None above, where it would be finer than a screen."""
    size = len(confusion.classes)
    if size > DENSE_CLASSES:
        return None
    columns = (confusion.true.tolist(), confusion.predicted.tolist(), confusion.count.tolist())
    support = np.bincount(confusion.true, weights=confusion.count, minlength=size)
    right, wrong, dark = [""] * SHADES, [""] * SHADES, []
    for true, predicted, images in zip(*columns, strict=True):
        paths = right if true == predicted else wrong
        shade = _shade(images / support[true])
        paths[shade] += f"M{predicted} {true}h1v1h-1z"
        dark.append(shade >= SHADES // 2)
    cells = [list(cell) for cell in zip(*columns, strict=True)]
    longest = min(max(map(len, confusion.classes)), LONGEST_NAME)
    return Matrix(size, right, wrong, cells, size <= NAMED, 14 + 7 * longest if size <= NAMED else 0, dark)


def _shade(share: float) -> int:
    """The root brings out the few wrong ones beside a diagonal near 1."""
    return min(int(share**0.5 * SHADES), SHADES - 1)


def taken_for(confusion: Confusion) -> dict[int, tuple[int, int]]:
    """True class → the wrong class it is taken for most often, and the images."""
    worst: dict[int, tuple[int, int]] = {}
    for true, predicted, images in zip(confusion.true, confusion.predicted, confusion.count, strict=True):
        if true != predicted and images > worst.get(int(true), (0, 0))[1]:
            worst[int(true)] = (int(predicted), int(images))
    return worst
