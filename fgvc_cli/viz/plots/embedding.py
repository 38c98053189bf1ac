"""The feature embedding of a split: one point per image, coloured by its true class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from fgvc_cli.errors import BadRequest
from fgvc_cli.figures import add_legend, new_figure, save_figure, short
from fgvc_cli.inference.look import Model, look
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.progress import Reporter
from fgvc_cli.viz.plots.palette import COLOURS, GREY
from fgvc_cli.viz.plots.projection import Projection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ALL = 14  # up to this number of classes, each has its own colour and marker
_MARKERS = ("o", "^")
_PICKED = 10  # coloured classes if there are more


@dataclass(frozen=True)
class Features:
    """The inputs of the method's last layer for N images."""

    values: NDArray[np.float32]  # (N, D)
    labels: NDArray[np.int64]  # (N,) true class
    predicted: NDArray[np.int64]  # (N,)


def gather(model: Model, pictures: Sequence[Picture], reporter: Reporter) -> Features:
    """The embedding of each image whose class is known.

    Raises:
        BadRequest: the method provides no embedding.
    """
    values, labels, predicted = [], [], []
    reporter.begin("computing features", len(pictures))
    try:
        for seen in look(model, pictures, evidence=True):
            evidence = seen.output.evidence
            if evidence is None or evidence.embedding is None:
                raise BadRequest(f"method {model.spec.method.name} provides no embedding to draw")
            values.append(evidence.embedding.flatten(1).float().cpu())
            labels.append(seen.batch.labels.cpu())
            predicted.append(seen.probabilities.argmax(1).cpu())
            for _ in seen.pictures:
                reporter.advance(1)
            reporter.facts({})
    finally:
        reporter.end()
    return Features(*(torch.cat(part).numpy() for part in (values, labels, predicted)))


def draw_embedding(
    path: Path, projection: Projection, features: Features, classes: Sequence[str], title: str, dpi: int
) -> None:
    """Write the PNG of `embedding_figure`."""
    save_figure(path, embedding_figure(projection, features, classes, title), dpi)


def embedding_figure(projection: Projection, features: Features, classes: Sequence[str], title: str) -> Figure:
    """One point per image, coloured by its true class.

    Up to 14 classes are all coloured. With more classes, those in the most frequent confusions (up to ten) are coloured
    and the rest are grey. Points with a wrong prediction are hollow.
    """
    picked = picked_classes(features, len(classes))
    figure = new_figure(5, 4.6)
    axes = figure.add_subplot()
    wrong = features.labels != features.predicted
    rest = ~np.isin(features.labels, picked)
    _scatter(axes, projection, rest, wrong, GREY, "o")
    for place, label in enumerate(picked):
        _scatter(axes, projection, features.labels == label, wrong, *_look(place))
    axes.set_xlabel(projection.axes[0])
    axes.set_ylabel(projection.axes[1])
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=10, parse_math=False)
    _legend(axes, [short(classes[label]) for label in picked], len(classes) - len(picked), bool(wrong.any()))
    return figure


def picked_classes(features: Features, classes: int) -> list[int]:
    """The coloured classes in ascending order: all if they are few, else those in the most frequent confusions."""
    if classes <= _ALL:
        return sorted(set(features.labels.tolist()))
    wrong = features.labels != features.predicted
    pairs = np.sort(np.stack([features.labels, features.predicted], 1)[wrong], 1)  # in both directions
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    found: dict[int, None] = {}
    for pair in unique[np.argsort(-counts, kind="stable")]:
        new = [label for label in pair.tolist() if label not in found]
        if len(found) + len(new) <= _PICKED:
            found |= dict.fromkeys(new)
    return sorted(found) or sorted(set(features.labels.tolist()))[:_PICKED]


def _look(place: int) -> tuple[str, str]:
    return COLOURS[place % len(COLOURS)], _MARKERS[place // len(COLOURS) % len(_MARKERS)]


def _scatter(
    axes: Axes,
    projection: Projection,
    chosen: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    colour: str,
    marker: str,
) -> None:
    size = 26 if len(chosen) < 500 else 12
    x, y = projection.points.T
    right, missed = chosen & ~wrong, chosen & wrong
    axes.scatter(x[right], y[right], s=size, c=colour, marker=marker, alpha=0.75, linewidths=0)
    axes.scatter(x[missed], y[missed], s=size, marker=marker, facecolors="none", edgecolors=colour, linewidths=0.9)


def _legend(axes: Axes, names: Sequence[str], others: int, wrong: bool) -> None:
    from matplotlib.lines import Line2D

    def handle(label: str, colour: str, marker: str, inside: str | None = None) -> Line2D:
        look: dict[str, Any] = {"color": colour, "marker": marker, "markerfacecolor": inside or colour}
        return Line2D([], [], linestyle="none", markersize=5, label=label, **look)

    handles = [handle(name, *_look(place)) for place, name in enumerate(names)]
    if len(names) + others > _ALL:
        handles.append(handle(f"{others} other classes", GREY, "o"))
    if wrong:
        handles.append(handle("hollow: wrong prediction", "#444444", "o", "none"))
    add_legend(axes, handles)
