"""The confusion matrix as a picture; above 1,000 classes, the pairs confused most often."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fgvc_cli.evaluation.confusion import DENSE_CLASSES, Confusion
from fgvc_cli.figures import DPI, new_figure, save_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fgvc_cli.data.taxonomy import Taxonomy

_NUMBERED = 30  # up to this number of classes each cell shows its count
_NAMED = 300  # this many names fit along a side
_PAIRS = 30


def draw_confusion(path: Path, confusion: Confusion, tree: Taxonomy | None = None, *, dpi: int = DPI) -> None:
    """Write the PNG: the matrix of up to 1,000 classes; above that, bars of the 30 most frequent confusions.

    With a tree the classes are in its order, with lines between its taxa, heavier ones between higher taxa.
    """
    few = len(confusion.classes) <= DENSE_CLASSES
    if few and tree is not None:
        confusion = confusion.ordered(tree.order)
    save_figure(path, _matrix(confusion, tree.rules() if tree else {}) if few else _bars(confusion), dpi)


def _matrix(confusion: Confusion, rules: dict[int, int]) -> Figure:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm

    counts = confusion.dense()
    support = counts.sum(1, keepdims=True)
    shares = np.where(support > 0, counts / np.maximum(support, 1), np.nan)
    classes = len(counts)
    cell = min(0.45, max(0.11, 12 / classes)) if classes <= _NAMED else 0.11 * _NAMED / classes
    side = max(cell * classes, 2.5)
    figure = new_figure(side + 1, side)
    axes = figure.add_subplot()
    # The square root makes small shares visible beside a diagonal near 1.
    colours = ScalarMappable(PowerNorm(0.5, 0, 1), colormaps["Blues"].with_extremes(bad="#e0e0e0"))
    axes.imshow(colours.to_rgba(np.ma.masked_invalid(shares), bytes=True), interpolation="nearest")
    _name_classes(axes, confusion.classes, min(9, cell * 72 * 0.75) if classes <= _NAMED else 6)
    thick = min(1.2, 30 / max(len(rules), 1))  # many lines would hide the cells
    for place, level in rules.items():
        for line in (axes.axhline, axes.axvline):
            line(place - 0.5, color="#c05020", linewidth=thick * max(1 - 0.35 * level, 0.25), alpha=0.7)
    if classes <= _NUMBERED:
        _number_cells(axes, counts, shares)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (grey: no images)" if (support == 0).any() else "true")
    bar = figure.colorbar(colours, ax=axes, fraction=min(0.04, 0.4 / side), pad=min(0.02, 0.2 / side))
    bar.set_label("share of the true class's images")
    return figure


def _name_classes(axes: Axes, classes: tuple[str, ...], size: float) -> None:
    """Class names along both sides, all or as many as fit; `$` in a name does not start a formula."""
    places = range(0, len(classes), math.ceil(len(classes) / _NAMED))
    names = [short(classes[place]) for place in places]
    axes.set_xticks(list(places), names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(list(places), names, fontsize=size, parse_math=False)
    axes.tick_params(length=2)


def _number_cells(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    for true, guess in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[true, guess] > 0.35 else "black"
        axes.text(guess, true, str(counts[true, guess]), ha="center", va="center", fontsize=8, color=colour)


def _bars(confusion: Confusion) -> Figure:
    pairs = confusion.worst(_PAIRS)
    figure = new_figure(7, 1.2 + 0.24 * len(pairs))
    axes = figure.add_subplot()
    axes.barh(range(len(pairs)), [pair["images"] for pair in pairs], color="#3b75af")
    names = [f"{short(pair['true'])} taken for {short(pair['predicted'])}" for pair in pairs]
    axes.set_yticks(range(len(pairs)), names, fontsize=8, parse_math=False)
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.set_xlabel("images")
    axes.set_title(f"most frequent confusions of {len(confusion.classes)} classes" if pairs else "nothing is confused")
    return figure
