"""The confusion matrix as SVG: one path per shade keeps the file small for a thousand classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.evaluation.confusion import DENSE_CLASSES, Confusion

SHADES = 8
LONGEST_NAME = 22  # letters
NAMED = 40  # up to this number of classes, names and counts are shown


@dataclass(frozen=True)
class Matrix:
    """The cells of each shade. A cell is 1 × 1; rows are true classes, columns are predicted ones."""

    size: int
    right: list[str]  # SVG's `d` of the diagonal cells, lightest shade first
    wrong: list[str]  # SVG's `d` of all other cells
    cells: list[list[int]]  # true, predicted, images of all cells that are not zero
    named: bool  # whether names and counts are shown
    margin: int  # space for the names, in SVG user units
    dark: list[bool]  # for each cell: whether its count needs a light colour
    classes: tuple[str, ...]  # in the order of the rows
    rules: dict[int, int]  # number of rows before a line between taxa → its level, 0 the highest


def matrix(confusion: Confusion, tree: Taxonomy | None = None) -> Matrix | None:
    """The matrix of up to 1,000 classes; None for more, as its cells would be smaller than a screen's pixels.

    With a tree the classes are in its order.
    """
    size = len(confusion.classes)
    if size > DENSE_CLASSES:
        return None
    if tree is not None:
        confusion = confusion.ordered(tree.order)
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
    margin, rules = 14 + 7 * longest if size <= NAMED else 0, {} if tree is None else tree.rules()
    return Matrix(size, right, wrong, cells, size <= NAMED, margin, dark, confusion.classes, rules)


def _shade(share: float) -> int:
    """The shade of a fraction. The square root makes small fractions visible beside a diagonal near 1."""
    return min(int(share**0.5 * SHADES), SHADES - 1)


def main_confusions(confusion: Confusion) -> dict[int, tuple[int, int]]:
    """True class → the wrong class that is most often predicted for it, and the number of images."""
    worst: dict[int, tuple[int, int]] = {}
    for true, predicted, images in zip(confusion.true, confusion.predicted, confusion.count, strict=True):
        if true != predicted and images > worst.get(int(true), (0, 0))[1]:
            worst[int(true)] = (int(predicted), int(images))
    return worst
