"""Plots made without a window and without matplotlib's global state; files are written atomically."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgvc_cli.files import make_parent, write_atomically

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
_LONGEST_NAME = 36


def new_figure(width: float, height: float) -> Figure:
    """A figure of `width` x `height` inches that is not registered with pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save_figure(path: Path, figure: Figure, dpi: int = DPI) -> None:
    """Write a PNG, cropped to the drawn area; its folder is created."""
    make_parent(path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the font lacks some scripts
        write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=dpi, bbox_inches="tight"))


def add_legend(axes: Axes, handles: Sequence[Artist], columns: int = 1, *, below: Figure | None = None) -> None:
    """Add a legend right of the axes, which keep their size, or below a whole figure. Names are never read as math."""
    style: dict[str, Any] = {"handles": handles, "fontsize": 8, "frameon": False, "ncols": columns, "borderaxespad": 0}
    if below is None:
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.04, 1), **style)
    else:
        legend = below.legend(loc="upper center", bbox_to_anchor=(0.5, -0.03), **style)
    for text in legend.get_texts():
        text.set_parse_math(False)


def short(name: str, longest: int = _LONGEST_NAME) -> str:
    """The name on one line, cut to at most `longest` characters."""
    name = " ".join(name.split())
    return name if len(name) <= longest else name[: longest - 1] + "…"
