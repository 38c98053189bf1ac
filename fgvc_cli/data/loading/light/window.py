"""Where an image lies in the network's input, and the input of evaluation as an array."""

from __future__ import annotations

import functools
import importlib
import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.loading.fit import Fitted, fitted
from fgvc_cli.data.loading.light.resize import Pixels, resize
from fgvc_cli.errors import FgvcError
from fgvc_cli.spec.data import DataSpec

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """How an image becomes the network's input. Lengths are in pixels, the angle in degrees.

    The image is resized as `fitted` says. A window of `size` × `size` with its corner at (left, top) of the resized
    image is cropped; it is black outside the resized image. It is flipped horizontally if `flip`, then rotated about
    its centre, counter-clockwise as seen.
    """

    fitted: Fitted
    size: int
    left: int
    top: int
    flip: bool = False
    angle: float = 0.0

    @classmethod
    def centred(cls, height: int, width: int, spec: DataSpec) -> Self:
        """As in evaluation: resize and centre crop, rounded like torchvision's center_crop."""
        found = fitted(height, width, spec)
        across, down = found.bars
        left, top = round((found.across - spec.side) / 2), round((found.down - spec.side) / 2)
        return cls(found, spec.side, left - across, top - down)

    def forward(self) -> Matrix:
        """Matrix from image pixels to network-input pixels, (3, 3)."""
        found = self.fitted
        across, down = found.columns / found.width, found.rows / found.height
        matrix = np.diag([across, down, 1.0])
        matrix[:2, 2] = -self.left - found.x * across, -self.top - found.y * down
        if self.flip:
            matrix = np.array([[-1.0, 0.0, self.size], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ matrix
        return _turn(self.angle, self.size / 2) @ matrix if self.angle else matrix

    def backward(self) -> NDArray[np.float32]:
        """Matrix from network-input pixels to image pixels, (2, 3)."""
        return np.linalg.inv(self.forward())[:2].astype(np.float32)

    def covered(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The columns and the rows of the resized image that lie in the window, each from and to; maybe none."""
        pairs = (self.left, self.fitted.columns), (self.top, self.fitted.rows)
        ends = [(min(max(start, 0), most), min(start + self.size, most)) for start, most in pairs]
        (x1, x2), (y1, y2) = ((start, max(start, end)) for start, end in ends)
        return (x1, x2), (y1, y2)


def _turn(angle: float, centre: float) -> Matrix:
    """Rotation about (centre, centre), (3, 3), counter-clockwise as seen, with y pointing down."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    shift = centre * (1 - cos)
    return np.array([[cos, sin, shift - centre * sin], [-sin, cos, shift + centre * sin], [0.0, 0.0, 1.0]])


def copy_window(image: Pixels, geometry: Window, out: Pixels) -> None:
    """Copy a resized image's window: from (rows, columns, 3) into (size, size, 3). Each byte is copied once."""
    size, left, top = geometry.size, geometry.left, geometry.top
    (x1, x2), (y1, y2) = geometry.covered()
    if (x2 - x1, y2 - y1) != (size, size):
        out.fill(0)  # black outside
    if x1 == x2 or y1 == y2:
        return
    rows = slice(y1 - top, y2 - top)
    source = image[y1:y2, x1:x2]
    if geometry.flip:
        _cv2().flip(source, 1, out[rows, size - (x2 - left) : size - (x1 - left)])
    else:
        out[rows, x1 - left : x2 - left] = source


@functools.cache
def _cv2() -> Any:
    """OpenCV, which flips images horizontally 10 times as fast as numpy."""
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise FgvcError(
            f"cannot load OpenCV ({error}), which --cache needs: apt-get install libgl1 libglib2.0-0, "
            "or pip install opencv-python-headless instead of opencv-python"
        ) from None


def prepared(pixels: Pixels, spec: DataSpec) -> tuple[Pixels, Window]:
    """The network's input in evaluation, (S, S, 3) uint8, of an image (H, W, 3), and how it lies in it."""
    window = Window.centred(pixels.shape[0], pixels.shape[1], spec)
    found = window.fitted
    part = pixels[found.y : found.y + found.height, found.x : found.x + found.width]
    result = np.empty((spec.side, spec.side, 3), dtype=np.uint8)
    copy_window(resize(part, found.rows, found.columns, found.interpolation), window, result)
    return result, window
