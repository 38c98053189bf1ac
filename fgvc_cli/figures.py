"""Plots made without a window and without matplotlib's global state; files are written atomically."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgvc_cli import fonts
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
    fit_fonts(figure)
    with fonts.drawing():
        write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=dpi, bbox_inches="tight"))


def fit_fonts(drawn: Artist) -> None:
    """Give the texts inside a figure, a plot or a text itself fonts that have their characters.

    Bytes of file names that are no text, which no font can draw, become question marks.
    """
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    for axis in drawn.findobj(Axis):
        axis.get_ticklabels()  # otherwise they get their texts only when they are drawn
    texts = drawn.findobj(Text)
    families = fonts.families("".join(text.get_text() for text in texts))
    for text in texts:
        text.set_text(text.get_text().encode("utf-8", "replace").decode())
        if len(families) > 1:
            text.set_fontfamily(families)


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
