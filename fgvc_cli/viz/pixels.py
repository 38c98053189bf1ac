"""Drawing on pixels. Pictures are (H, W, 3) uint8 RGB; coordinates are x, y with 0 at the edge of the first pixel."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fgvc_cli import fonts
from fgvc_cli.errors import FgvcError
from fgvc_cli.viz.colours import DARK, Colour, heat_colours, signed_colours

Pixels = NDArray[np.uint8]
Values = NDArray[np.float32]
Box = Sequence[float] | NDArray[np.float32]
Size = tuple[int, int]  # height, width
_CAPITAL = 0.73  # height of a capital letter or digit of the default font, relative to the font's size


def opencv() -> Any:
    """The package cv2. FgvcError that says what to install if it cannot be loaded."""
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise FgvcError(
            f"pictures need opencv, which cannot be loaded ({error}): on Debian and Ubuntu "
            "`apt-get install libgl1 libglib2.0-0`, or anywhere "
            "`pip uninstall opencv-python && pip install opencv-python-headless`"
        ) from None


def resized(picture: Pixels, size: Size) -> Pixels:
    """The picture resized: area averaging to shrink, cubic interpolation to enlarge."""
    height, width = size
    if picture.shape[:2] == size:
        return picture.copy()
    cv2 = opencv()
    shrinks = height <= picture.shape[0] and width <= picture.shape[1]
    result: Pixels = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return result


def spread(values: Values, frame: Box, size: Size) -> tuple[Values, NDArray[np.bool_]]:
    """A map interpolated to a picture's pixels. At a cell's centre the result is exactly the cell's value.

    The interpolation is Keys' cubic convolution, clipped to the map's own range as it may overshoot. Beyond the
    outermost centres the value is constant. A value that is not finite counts as 0.

    Args:
        values: (h, w).
        frame: xyxy, the part of the picture that the map covers, in pixels.
        size: (H, W) of the picture.

    Returns:
        (H, W) values, and (H, W) bool: the pixels inside the frame.
    """
    x1, y1, x2, y2 = (float(value) for value in frame)
    rows, inside_rows = _weights(size[0], y1, y2, values.shape[0])
    columns, inside_columns = _weights(size[1], x1, x2, values.shape[1])
    values = _finite(values)
    laid = (rows @ values.astype(np.float64) @ columns.T).clip(values.min(), values.max())
    return laid.astype(np.float32), inside_rows[:, None] & inside_columns[None, :]


def _finite(values: Values) -> Values:
    return np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)


def _weights(pixels: int, start: float, end: float, cells: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(pixels, cells) weight of each cell in each pixel's value, and (pixels,) whether its centre is in start..end."""
    centres = np.arange(pixels) + 0.5
    place = (centres - start) / max(end - start, 1e-6) * cells - 0.5  # in cells, 0 at the first cell's centre
    place = place.clip(0, cells - 1)
    first = np.floor(place).astype(np.int64)
    weights = np.zeros((pixels, cells))
    for step in (-1, 0, 1, 2):
        cell = (first + step).clip(0, cells - 1)
        np.add.at(weights, (np.arange(pixels), cell), _keys(np.abs(place - (first + step))))
    return weights, (centres >= start) & (centres < end)


def _keys(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic convolution kernel with a = -1/2. Source: Keys, https://doi.org/10.1109/TASSP.1981.1163711."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def blocks(values: Values, frame: Box, size: Size) -> tuple[Values, NDArray[np.bool_]]:
    """Like `spread`, not interpolated: a pixel has the value of the cell that contains its centre."""
    x1, y1, x2, y2 = (float(value) for value in frame)
    rows, inside_rows = _cells(size[0], y1, y2, values.shape[0])
    columns, inside_columns = _cells(size[1], x1, x2, values.shape[1])
    return _finite(values)[rows[:, None], columns[None, :]], inside_rows[:, None] & inside_columns[None, :]


def _cells(pixels: int, start: float, end: float, cells: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    centres = np.arange(pixels) + 0.5
    place = np.floor((centres - start) / max(end - start, 1e-6) * cells).astype(np.int64)
    return place.clip(0, cells - 1), (centres >= start) & (centres < end)


def heated(picture: Pixels, values: Values, inside: NDArray[np.bool_], alpha: float) -> Pixels:
    """Values 0..1 (H, W) as heat colours over the picture. Pixels outside `inside` do not change.

    The opacity is `alpha` at value 1 and lower at value 0, so that the dark colours do not hide the picture. With
    alpha 0 only the picture is visible, with alpha 1 only the colours.
    """
    cover = 1 - (1 - alpha) ** (0.4 + 0.6 * values.clip(0, 1))
    return _blend(picture, heat_colours(values), np.where(inside, cover, 0.0))


def contrasted(picture: Pixels, values: Values, inside: NDArray[np.bool_], alpha: float) -> Pixels:
    """Values -1..1 (H, W) as two colours over the grey picture. The opacity grows with the absolute value."""
    strength = np.abs(values.clip(-1, 1)) * min(1.0, 1.4 * alpha)
    ends = signed_colours(np.sign(values).astype(np.float32))
    return _blend(greyed(picture), ends, np.where(inside, strength, 0.0))


def greyed(picture: Pixels) -> Pixels:
    """The picture in grey."""
    grey = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, 2)


def dimmed(picture: Pixels, keep: NDArray[np.bool_], strength: float = 0.72) -> Pixels:
    """Grey and pale where `keep` (H, W) is false."""
    pale = _blend(greyed(picture), np.full_like(picture, 255), np.full(picture.shape[:2], strength))
    return np.where(keep[..., None], picture, pale)


def _blend(picture: Pixels, colours: Pixels, alpha: NDArray[np.floating[Any]]) -> Pixels:
    share = alpha.astype(np.float32)[..., None]
    return np.rint(picture * (1 - share) + colours * share).astype(np.uint8)


def whole(box: Box, size: Size) -> tuple[int, int, int, int]:
    """A box rounded to whole pixels and clipped to the picture; it contains one pixel at least."""
    height, width = size
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1, y1, min(max(x2, x1 + 1), width), min(max(y2, y1 + 1), height)


def outline(picture: Pixels, box: Box, colour: Colour, thickness: int = 2, *, dashed: bool = False) -> None:
    """Draw a box in place. The line lies inside the box, with a thin dark line on both sides for contrast."""
    x1, y1, x2, y2 = whole(box, picture.shape[:2])
    edge = np.zeros((y2 - y1, x2 - x1), bool)
    for side in (edge[:thickness], edge[-thickness:], edge[:, :thickness], edge[:, -thickness:]):
        side[:] = True
    casing = np.zeros(picture.shape[:2], bool)
    casing[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] = True
    inner = thickness + 1
    casing[y1 + inner : y2 - inner, x1 + inner : x2 - inner] = False
    casing[y1:y2, x1:x2] &= ~edge
    if x2 - x1 > 2 * inner and y2 - y1 > 2 * inner:  # in a small box the casing would hide the content
        picture[casing] = np.rint(picture[casing] * 0.35 + np.array(DARK) * 0.65).astype(np.uint8)
    if dashed:
        rows, columns = np.indices(edge.shape)
        edge &= (rows + columns) // (4 * thickness) % 2 == 0
    picture[y1:y2, x1:x2][edge] = colour


def cell_lines(picture: Pixels, frame: Box, cells: Size, colour: Colour = (255, 255, 255)) -> None:
    """Draw the lines of a grid over a frame, in place. `cells` are (rows, columns)."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (float(value) for value in frame)
    for y in _marks(y1, y2, cells[0], height):
        picture[y, max(round(x1), 0) : round(x2)] = colour
    for x in _marks(x1, x2, cells[1], width):
        picture[max(round(y1), 0) : round(y2), x] = colour


def _marks(start: float, end: float, cells: int, pixels: int) -> Iterable[int]:
    places = (round(start + (end - start) * cell / cells) for cell in range(cells + 1))
    return (min(max(place, 0), pixels - 1) for place in places)


def cut(picture: Pixels, box: Box) -> Pixels:
    """The pixels inside a box, as a copy."""
    x1, y1, x2, y2 = whole(box, picture.shape[:2])
    return picture[y1:y2, x1:x2].copy()


def bordered(picture: Pixels, colour: Colour, thickness: int) -> Pixels:
    """A copy of the picture with a border drawn over its outermost pixels."""
    framed = picture.copy()
    for side in (framed[:thickness], framed[-thickness:], framed[:, :thickness], framed[:, -thickness:]):
        side[:] = colour
    return framed


def text_width(text: str, height: float) -> float:
    """The width in pixels of a text that `write` writes."""
    return _font(text, height).getlength(text)


def write(
    picture: Pixels,
    texts: Iterable[tuple[str, float, float]],
    height: float,
    colour: Colour,
    edge: Colour | None = None,
) -> None:
    """Write texts in place, each with its middle at x, y.

    Args:
        picture: drawn on.
        texts: each with the x and y of its middle.
        height: of a capital letter or digit, in pixels.
        colour: of the letters.
        edge: of a thin line around them, if any.
    """
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    stroke: dict[str, Any] = {} if edge is None else {"stroke_width": 1, "stroke_fill": edge}
    for text, x, y in texts:
        font = _font(text, height)
        middle = (x, y + height / 2)  # digits stand on the baseline
        pen.text(middle, text, fill=colour, font=font, anchor="ms", **stroke)
    picture[:] = np.asarray(canvas)


def _font(text: str, height: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(fonts.font_file(text), max(round(height / _CAPITAL, 1), 1))
