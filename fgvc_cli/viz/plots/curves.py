"""Loss and accuracy by epoch, of one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.figures import add_legend, new_figure, save_figure, short
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.journal import read_metrics
from fgvc_cli.viz.plots.palette import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Column = NDArray[np.float64]
_MARKERS = ("", "s", "^", "D", "v", "P")  # the next one is used when the colours repeat
_ROWS = 14  # in a column of the legend
_SHOWN_SINGLY = 12  # up to this number of epochs, each is drawn as a dot


@dataclass(frozen=True)
class Curves:
    """The columns of a run's metrics.csv: E epochs."""

    name: str
    columns: dict[str, Column]  # (E,) each; NaN if an epoch has no value
    problems: tuple[str, ...] = ()  # parts of the file that could not be read

    @classmethod
    def read(cls, run: RunFolder) -> Curves:
        """Read a run's metrics.csv.

        Raises:
            BadRequest: the run has not finished an epoch.
            FgvcError: no row of the file can be read.
        """
        rows, problems = read_metrics(run.metrics_file)
        if not rows and problems and run.metrics_file.exists():
            raise FgvcError(f"{run.path}: {problems[0]}")
        if not rows:
            raise BadRequest(f"{run.path} has no curves yet: it has not finished an epoch")
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}
        return cls(run.name, columns, tuple(problems))

    @property
    def epochs(self) -> Column:
        """(E,) numbers of the epochs, from 1."""
        return self.columns["epoch"] + 1

    def has(self, name: str) -> bool:
        """Whether there is such a column with at least one value."""
        return name in self.columns and bool(np.isfinite(self.columns[name]).any())

    @property
    def parts(self) -> list[str]:
        """Names of the losses that the training loss is the sum of; empty if it is a single loss."""
        names = [name.removeprefix("train_") for name in self.columns if name.startswith("train_")]
        names = [name for name in names if name not in ("loss", "top1")]
        return names if len(names) > 1 else []


@dataclass(frozen=True)
class _Look:
    """Label, colour and marker of a run's lines."""

    label: str
    colour: str
    marker: str


def draw_curves(path: Path, curves: Sequence[Curves], dpi: int) -> None:
    """Write the PNG of `curves_figure`."""
    save_figure(path, curves_figure(curves), dpi)


def curves_figure(curves: Sequence[Curves]) -> Figure:
    """Loss and top-1 side by side; for a single run also the components of its loss, if there are several."""
    looks = [
        _Look(name, COLOURS[place % len(COLOURS)], _MARKERS[place // len(COLOURS) % len(_MARKERS)])
        for place, name in enumerate(unique_labels([run.name for run in curves]))
    ]
    parts = curves[0].parts if len(curves) == 1 else []
    panels = 3 if parts else 2
    figure = new_figure(4.3 * panels, 3.2)
    figure.subplots_adjust(wspace=0.28)
    loss, top1, *rest = figure.subplots(1, panels)
    for run, look in zip(curves, looks, strict=True):
        _draw_run(loss, run, "loss", look)
        _draw_run(top1, run, "top1", look, percent=True)
    for axes in rest:
        _draw_parts(axes, curves[0], parts)
    has_validation = any(run.has("val_top1") for run in curves)
    # With several training losses, training and validation loss are not the same quantity.
    differ = has_validation and any(run.parts for run in curves)
    _label(loss, "loss (validation: cross entropy)" if differ else "loss")
    _label(top1, "top-1 accuracy (%)")
    top1.set_ylim(bottom=0)
    few = all(len(run.epochs) <= _SHOWN_SINGLY for run in curves)
    _legend(top1, looks if len(curves) > 1 else [], has_validation, few)
    if len(curves) == 1:
        figure.suptitle(curves[0].name, fontsize=10, parse_math=False)
    return figure


def unique_labels(names: Sequence[str]) -> list[str]:
    """Names as the legend shows them; equal ones get a number."""
    cut = [short(name) for name in names]
    return [
        f"{name} ({cut[: place + 1].count(name)})" if cut.count(name) > 1 else name for place, name in enumerate(cut)
    ]


def _draw_run(axes: Axes, run: Curves, measure: str, look: _Look, *, percent: bool = False) -> None:
    """Training as a solid line, validation dashed, and a ring at the epoch whose weights the run kept."""
    scale = 100 if percent else 1
    dots = look.marker or ("o" if len(run.epochs) <= _SHOWN_SINGLY else "")
    every = max(1, len(run.epochs) // 8)
    for name, style, inside in (("train", "-", look.colour), ("val", "--", "white")):
        column = f"{name}_{measure}"
        if run.has(column):
            values = scale * run.columns[column]
            marks: dict[str, Any] = {"marker": dots, "markersize": 4, "markevery": every if look.marker else 1}
            axes.plot(run.epochs, values, style, color=look.colour, linewidth=1.4, markerfacecolor=inside, **marks)
    if run.has(f"val_{measure}") and run.has("val_top1"):
        kept = int(np.nanargmax(run.columns["val_top1"]))  # the first among equals, as in training
        value = scale * run.columns[f"val_{measure}"][kept]
        axes.plot(run.epochs[kept], value, "o", markersize=8, markerfacecolor="none", color=look.colour)


def _draw_parts(axes: Axes, run: Curves, parts: Sequence[str]) -> None:
    for place, name in enumerate(parts):
        marker = "o" if len(run.epochs) <= _SHOWN_SINGLY else ""
        style = ("-", "--", ":")[place // len(COLOURS) % 3]
        colour = COLOURS[place % len(COLOURS)]
        values = run.columns[f"train_{name}"]
        axes.plot(run.epochs, values, style, color=colour, marker=marker, markersize=3.5, linewidth=1.4, label=name)
    _label(axes, "components of the training loss")
    legend = axes.legend(fontsize=7, frameon=False, ncols=1 + (len(parts) > 8), handlelength=1.6)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _label(axes: Axes, what: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.set_ylabel(what)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if not axes.lines:
        axes.text(0.5, 0.5, "not in metrics.csv", transform=axes.transAxes, ha="center", color="grey")


def _legend(axes: Axes, looks: Sequence[_Look], has_validation: bool, few: bool) -> None:
    """The legend: the runs, and the meaning of solid lines, dashed lines and rings."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=look.colour, marker=look.marker, markersize=4, label=look.label) for look in looks]
    grey: dict[str, Any] = {"color": "#444444"}
    dot: dict[str, Any] = {"marker": "o", "markersize": 4} if few else {}
    handles.append(Line2D([], [], label="training images", **grey, **dot))
    if has_validation:
        ring: dict[str, Any] = {"marker": "o", "markersize": 8, "markerfacecolor": "none", "linestyle": "none"}
        dashed: dict[str, Any] = {"linestyle": "--", "markerfacecolor": "white"}
        handles.append(Line2D([], [], label="validation images", **dashed, **grey, **dot))
        handles.append(Line2D([], [], label="selected epoch", **grey, **ring))
    if looks:
        add_legend(axes, handles, -(-len(handles) // _ROWS))
    else:
        add_legend(axes, handles, len(handles), below=cast("Figure", axes.figure))
