"""Plots without a window and without matplotlib's global state, written whole or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgvc_cli.engine.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

DPI = 120
_LONGEST_NAME = 36


def new_figure(width: float, height: float, **more: object) -> Figure:
    """A figure of so many inches that no window and no global state knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), **more)  # type: ignore[arg-type]
    FigureCanvasAgg(figure)
    return figure


def save_figure(path: Path, figure: Figure, dpi: int = DPI) -> None:
    """Write a PNG, cut to what is drawn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a script that the font does not have
        write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=dpi, bbox_inches="tight"))


def add_legend(figure: Figure, handles: Sequence[Artist], place: str, columns: int = 1) -> None:
    """A legend outside the axes; names are never read as formulas."""
    legend = figure.legend(handles=handles, fontsize=8, frameon=False, loc=place, ncols=columns)  # type: ignore[call-overload]
    for text in legend.get_texts():
        text.set_parse_math(False)


def short(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name on one line, its end cut where it is too long."""
    name = " ".join(name.split())
    return name if len(name) <= longest else name[: longest - 1] + "…"
