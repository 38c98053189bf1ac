"""The layout of panels and text on a sheet. A panel's pixels are copied to the PNG unchanged."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from fgvc_cli import fonts
from fgvc_cli.figures import fit_fonts
from fgvc_cli.files import make_parent, write_atomically
from fgvc_cli.viz.colours import DARK, GREY, Colour
from fgvc_cli.viz.pixels import Pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Inches.
PANEL = 2.3  # side of a square picture
MARGIN, GAP, BETWEEN = 0.12, 0.08, 0.3
LINE = 0.19  # a line of small text
LEAST = 2.0  # minimum width of a strip that has a heading
HEADING = 0.26
MOST_KEYS = 8  # in the legend of a whole sheet
# Points.
SMALLEST, SMALL, LARGE = 7.0, 8.5, 11.0


@dataclass(frozen=True)
class Words:
    """A part of a line of text, in one style."""

    text: str
    colour: Colour = DARK
    bold: bool = False


@dataclass(frozen=True)
class Panel:
    """A picture with a title above and a note below."""

    pixels: Pixels  # (H, W, 3)
    title: str = ""
    note: str = ""
    edge: Colour | None = None  # the title's colour: the title explains the picture's border of that colour


@dataclass(frozen=True)
class Plot:
    """A matplotlib plot of `size` (height, width) pixels, tick labels included."""

    draw: Callable[[Axes], None]
    size: tuple[int, int]
    title: str = ""
    note: str = ""
    inset: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # left, bottom, right, top, in inches, for labels
    edge: Colour | None = None


@dataclass(frozen=True)
class Row:
    """Panels side by side, aligned at the tops of the pictures."""

    panels: tuple[Panel | Plot, ...]
    label: str = ""  # a line above the row


@dataclass(frozen=True)
class Key:
    """An entry of the legend: a colour and its meaning."""

    colour: Colour
    text: str
    dashed: bool = False


@dataclass(frozen=True)
class Strip:
    """Everything that is shown for one image."""

    rows: tuple[Row, ...]
    heading: tuple[Words, ...] = ()
    below: tuple[Words, ...] = ()  # a second, smaller line of the heading
    keys: tuple[Key, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)  # for the manifest


@dataclass(frozen=True)
class _Extent:
    """A size in pixels."""

    width: int
    height: int


class Sheet:
    """Strips in columns, ordered row by row.

    Args:
        strips: the content; a column is as wide as its widest strip.
        dpi: pixels per inch. It scales text and margins; panels are in pixels already.
        columns: number of strips side by side.
    """

    def __init__(self, strips: Sequence[Strip], dpi: int, columns: int = 1) -> None:
        self.dpi = dpi
        self.columns = max(1, min(columns, len(strips)))
        self.keys, self.strips = _shared_keys(strips)
        self._sizes = [self._measure(strip) for strip in self.strips]
        self._widths = [
            max((size.width for size in self._sizes[column :: self.columns]), default=0)
            for column in range(self.columns)
        ]
        self._heights = [
            max(size.height for size in self._sizes[start : start + self.columns])
            for start in range(0, len(self._sizes), self.columns)
        ]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height = 2 * self._px(MARGIN) + sum(self._heights) + self._px(BETWEEN) * (len(self._heights) - 1)
        lines = len(self._key_lines)
        height += self._px(LINE) * lines + self._px(GAP) * bool(lines)
        return height, 2 * self._px(MARGIN) + self._inner

    @property
    def _inner(self) -> int:
        return sum(self._widths) + self._px(BETWEEN) * (self.columns - 1)

    @property
    def _key_lines(self) -> list[list[Key]]:
        return _key_lines(self.keys, self._inner / self.dpi)

    def write(self, path: Path) -> None:
        """Write the PNG atomically; its folder is created."""
        figure = self.figure()
        make_parent(path)
        with fonts.drawing():
            write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=self.dpi))

    def png(self) -> bytes:
        """The PNG as `write` writes it."""
        stream = io.BytesIO()
        with fonts.drawing():
            self.figure().savefig(stream, format="png", dpi=self.dpi)
        return stream.getvalue()

    def figure(self) -> Figure:
        """The sheet as a figure that is not registered with pyplot."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        height, width = self.size
        figure = Figure(figsize=(width / self.dpi, height / self.dpi), dpi=self.dpi, facecolor="white")
        FigureCanvasAgg(figure)
        pen = _Pen(figure, width, height, self.dpi)
        top = self._px(MARGIN)
        for row, start in enumerate(range(0, len(self.strips), self.columns)):
            left = self._px(MARGIN)
            for column, strip in enumerate(self.strips[start : start + self.columns]):
                self._draw(pen, strip, left, top, self._widths[column])
                left += self._widths[column] + self._px(BETWEEN)
            top += self._heights[row] + self._px(BETWEEN)
        top += self._px(GAP) - self._px(BETWEEN)
        for keys in self._key_lines:
            pen.keys(keys, self._px(MARGIN), top, self._px(LINE))
            top += self._px(LINE)
        return figure

    def _px(self, inches: float) -> int:
        return round(inches * self.dpi)

    def _measure(self, strip: Strip) -> _Extent:
        rows = [self._row(row) for row in strip.rows]
        height = sum(row.height for row in rows) + self._px(GAP) * (len(rows) - 1)
        height += self._px(HEADING) * bool(strip.heading) + self._px(LINE) * bool(strip.below)
        width = max([row.width for row in rows] + [self._px(LEAST) * bool(strip.heading)])
        return _Extent(width, height + self._px(LINE) * len(_key_lines(strip.keys, width / self.dpi)))

    def _row(self, row: Row) -> _Extent:
        sizes = [_size(panel) for panel in row.panels]
        width = sum(width for _, width in sizes) + self._px(GAP) * (len(sizes) - 1)
        lines = [bool(row.label), any(panel.title for panel in row.panels), _note_lines(row)]
        return _Extent(width, max(height for height, _ in sizes) + self._px(LINE) * sum(lines))

    def _draw(self, pen: _Pen, strip: Strip, left: int, top: int, width: int) -> None:
        if strip.heading:
            pen.line(strip.heading, left, top, width, self._px(HEADING), LARGE)
            top += self._px(HEADING)
        if strip.below:
            pen.line(strip.below, left, top, width, self._px(LINE), SMALL)
            top += self._px(LINE)
        for row in strip.rows:
            self._draw_row(pen, row, left, top, width)
            top += self._row(row).height + self._px(GAP)
        own = self._measure(strip).width
        for keys in _key_lines(strip.keys, own / self.dpi):
            pen.keys(keys, left, top - self._px(GAP), self._px(LINE))
            top += self._px(LINE)

    def _inset(self, panel: Panel | Plot) -> tuple[int, int]:
        """Pixels to the left and right of a plot's axes."""
        return (0, 0) if isinstance(panel, Panel) else (self._px(panel.inset[0]), self._px(panel.inset[2]))

    def _draw_row(self, pen: _Pen, row: Row, left: int, top: int, width: int) -> None:
        line = self._px(LINE)
        if row.label:
            pen.line((Words(row.label, DARK, bold=True),), left, top, width, line, SMALL)
            top += line
        titled = any(panel.title for panel in row.panels)
        tallest = max(_size(panel)[0] for panel in row.panels)
        for panel in row.panels:
            wide = _size(panel)[1]
            if panel.title:
                before, after = self._inset(panel)
                pen.centred(panel.title, left + before, top, wide - before - after, line, panel.edge or DARK)
            under = top + line * titled
            if isinstance(panel, Panel):
                pen.picture(panel.pixels, left, under)
            else:
                pen.plot(panel, left, under)
            for number, note in enumerate(panel.note.split("\n") if panel.note else ()):
                pen.centred(note, left, under + tallest + number * line, wide, line, GREY)
            left += wide + self._px(GAP)


def _size(panel: Panel | Plot) -> tuple[int, int]:
    return (panel.pixels.shape[0], panel.pixels.shape[1]) if isinstance(panel, Panel) else panel.size


def _note_lines(row: Row) -> int:
    return max((panel.note.count("\n") + 1 for panel in row.panels if panel.note), default=0)


def _shared_keys(strips: Sequence[Strip]) -> tuple[tuple[Key, ...], list[Strip]]:
    """One legend for the whole sheet, and the strips without theirs; no common legend if it would be too long."""
    every = tuple(dict.fromkeys(key for strip in strips for key in strip.keys))
    if len(strips) < 2 or len(every) > MOST_KEYS:
        return (), list(strips)
    return every, [replace(strip, keys=()) for strip in strips]


_LETTER = 0.07  # greatest width of a small letter, in inches; those of East Asia are twice as wide


def _key_lines(keys: Sequence[Key], width: float) -> list[list[Key]]:
    """The keys in lines of at most `width` inches."""
    lines: list[list[Key]] = []
    room = 0.0
    for key in keys:
        needed = 0.36 + _LETTER * cell_len(key.text)
        if not lines or needed > room:
            lines.append([])
            room = width
        lines[-1].append(key)
        room -= needed
    return lines


def short(value: float) -> str:
    """A number with about two digits, never in scientific notation, which takes too much space."""
    if abs(value) < 0.005:
        return "0" if abs(value) < 0.00005 else f"{value:.4f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"


class _Pen:
    """Draws on a figure in pixel coordinates from the top left."""

    def __init__(self, figure: Figure, width: int, height: int, dpi: int) -> None:
        self.figure, self.width, self.height, self.dpi = figure, width, height, dpi

    def picture(self, pixels: Pixels, left: int, top: int) -> None:
        """Draw a picture's pixels unchanged."""
        self.figure.figimage(pixels, left, self.height - top - pixels.shape[0], resize=False)

    def plot(self, plot: Plot, left: int, top: int) -> None:
        """Draw a plot on axes inside its margins."""
        height, width = plot.size
        low, bottom, high, upper = (round(inches * self.dpi) for inches in plot.inset)
        place = (
            (left + low) / self.width,
            (self.height - top - height + bottom) / self.height,
            max(width - low - high, 1) / self.width,
            max(height - bottom - upper, 1) / self.height,
        )
        axes = self.figure.add_axes(place)
        plot.draw(axes)
        fit_fonts(axes)

    def centred(self, text: str, left: int, top: int, width: int, height: int, colour: Colour) -> None:
        """Write a small centred line, cut to fit."""
        written = self._text(Words(text, colour), left + width / 2, top + height / 2, SMALL, "center")
        self._fit(written, width)

    def line(self, words: Sequence[Words], left: int, top: int, width: int, height: int, size: float) -> None:
        """Write words from left to right. If they are too long the font is reduced, and then the text is cut."""
        written = [self._text(word, 0, top + height / 2, size, "left") for word in words]
        needed = sum(self._width(text) for text in written)
        x, end = float(left), left + width
        for text in written:
            text.set_fontsize(max(size * min(1.0, width / max(needed, 1)), SMALLEST))
            text.set_x(x / self.width)
            x += self._fit(text, max(end - x, 0))

    def keys(self, keys: Sequence[Key], left: int, top: int, height: int) -> None:
        """Draw a line of the legend: a short line in each colour, then its meaning."""
        from matplotlib.lines import Line2D

        x, y = float(left), 1 - (top + height / 2) / self.height
        for key in keys:
            ends = [x / self.width, (x + 0.17 * self.dpi) / self.width]
            for colour, width in ((DARK, 3.8), (key.colour, 2.2)):
                line = Line2D(ends, [y, y], color=_rgb(colour), linewidth=width, solid_capstyle="butt")
                line.set_linestyle((0, (1.6, 0.9)) if key.dashed and colour != DARK else "-")
                line.set_dash_capstyle("butt")
                self.figure.add_artist(line)
            written = self._text(Words(key.text), x + 0.22 * self.dpi, top + height / 2, SMALL, "left")
            x += 0.22 * self.dpi + self._width(written) + 0.13 * self.dpi

    def _text(self, word: Words, x: float, y: float, size: float, align: str) -> Text:
        text = self.figure.text(
            x / self.width,
            1 - y / self.height,
            " ".join(word.text.split()) if align == "center" else word.text,
            color=_rgb(word.colour),
            fontsize=size,
            fontweight="bold" if word.bold else "normal",
            ha=align,
            va="center",
            parse_math=False,
        )
        fit_fonts(text)
        return text

    def _fit(self, written: Text, width: float) -> float:
        """Cut a text to `width` pixels; returns its final width."""
        text, taken = written.get_text(), self._width(written)
        if taken <= width:
            return taken
        low, high = 0, len(text)  # `low` letters fit, `high` letters do not
        while high - low > 1:
            middle = (low + high) // 2
            written.set_text(text[:middle].rstrip() + "…")
            low, high = (middle, high) if self._width(written) <= width else (low, middle)
        written.set_text(text[:low].rstrip() + "…" if low else "")
        return self._width(written)

    def _width(self, written: Text) -> float:
        with fonts.drawing():
            return float(written.get_window_extent().width)


def _rgb(colour: Colour) -> tuple[float, float, float]:
    return colour[0] / 255, colour[1] / 255, colour[2] / 255
