"""Image → network input, with the affine map back to the image's own pixels.

The transforms are: resize to a canvas, crop, flip, rotate, augment, in this order. A `Geometry` holds the parameters of
all but the last. They are chosen (at random in training, fixed in evaluation) before any pixel is processed, so that a
cache or a device can apply the same transforms. Coordinates are continuous, 0 at the left or top edge of the first
pixel.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from fgvc_cli.data.loading.augment import augment
from fgvc_cli.errors import FgvcError
from fgvc_cli.spec.data import DataSpec

Matrix = NDArray[np.float64]


def mix(*words: int) -> int:
    """One 63-bit seed from integers: the same on every machine, and unrelated for neighbouring integers."""
    packed = struct.pack(f"<{len(words)}Q", *(word & 0xFFFFFFFFFFFFFFFF for word in words))
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


def generator_of(seed: int, epoch: int, index: int) -> torch.Generator:
    """The random generator for the augmentation of image `index` of the split in an epoch."""
    return torch.Generator().manual_seed(mix(seed, epoch, index))


@dataclass(frozen=True)
class Canvas:
    """How an image is laid out before the crop: resized to wide × high, with its corner at (x, y) of a black canvas.

    The canvas has width × height pixels. It is the resized image itself, unless that is padded.
    """

    wide: int
    high: int
    x: int
    y: int
    width: int
    height: int
    interpolation: str = "bilinear"

    def draw(self, picture: Tensor) -> Tensor:
        """(3, H, W) uint8 → (3, height, width) uint8. This precedes every random transform, so it can be cached."""
        resized = picture
        if tuple(picture.shape[1:]) != (self.high, self.wide):
            mode = InterpolationMode(self.interpolation)
            resized = F.resize(picture, [self.high, self.wide], mode, antialias=True)
        if (self.wide, self.high) == (self.width, self.height):
            return resized
        right, below = self.width - self.x - self.wide, self.height - self.y - self.high
        padded: Tensor = F.pad(resized, [self.x, self.y, right, below])
        return padded


def canvas_of(height: int, width: int, spec: DataSpec) -> Canvas:
    """The canvas of an image by `data.fit`.

    squash: a square whatever the image's shape; pad: all of the image in a square, its shape kept; crop: the short side
    resized, the shape kept.
    """
    side, mode = spec.resize_side, spec.interpolation
    if spec.fit == "squash":
        return Canvas(side, side, 0, 0, side, side, mode)
    scale = side / (max(height, width) if spec.fit == "pad" else min(height, width))
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    if spec.fit == "crop":
        return Canvas(wide, high, 0, 0, wide, high, mode)
    return Canvas(wide, high, (side - wide) // 2, (side - high) // 2, side, side, mode)


@dataclass(frozen=True)
class Geometry:
    """How an image of width × height becomes the network's input. Lengths are in pixels, the angle in degrees.

    The image is laid out on `canvas`. A window of `size` × `size` with its corner at (left, top) is cropped; it is
    black outside the canvas. It is flipped horizontally if `flip`, then rotated about its centre, counter-clockwise as
    seen.
    """

    width: int
    height: int
    canvas: Canvas
    size: int
    left: int
    top: int
    flip: bool = False
    angle: float = 0.0

    def forward(self) -> Matrix:
        """Matrix from image pixels to network-input pixels, (3, 3)."""
        canvas = self.canvas
        matrix = np.diag([canvas.wide / self.width, canvas.high / self.height, 1.0])
        matrix[:2, 2] = canvas.x - self.left, canvas.y - self.top
        if self.flip:
            matrix = np.array([[-1.0, 0.0, self.size], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ matrix
        return _turn(self.angle, self.size / 2) @ matrix if self.angle else matrix

    def to_original(self) -> Tensor:
        """Matrix from network-input pixels to image pixels, (2, 3) float32."""
        return torch.from_numpy(np.linalg.inv(self.forward())[:2].astype(np.float32))

    def apply(self, picture: Tensor) -> Tensor:
        """(3, height, width) uint8 → (3, size, size) uint8."""
        return self.turned(self.window(self.canvas.draw(picture)))

    def window(self, drawn: Tensor) -> Tensor:
        """The canvas, (3, h, w) uint8 → (3, size, size), cropped and flipped; `copy_window` does so for arrays."""
        if (self.left, self.top, self.size, self.size) != (0, 0, self.canvas.width, self.canvas.height):
            drawn = F.crop(drawn, self.top, self.left, self.size, self.size)  # black outside
        return F.horizontal_flip(drawn) if self.flip else drawn

    def turned(self, pixels: Tensor) -> Tensor:
        """(3, size, size) uint8, cropped and flipped → rotated."""
        return F.rotate(pixels, self.angle, InterpolationMode.BILINEAR) if self.angle else pixels

    def map_box(self, box: NDArray[np.float32]) -> Tensor:
        """A box of the image, (4,), in network-input pixels: the tight box (4,) float32 around its mapped corners.

        If nothing of it is left inside the input, x2 = x1 and y2 = y1.
        """
        x1, x2 = np.clip(box[0::2].astype(np.float64), 0, self.width)
        y1, y2 = np.clip(box[1::2].astype(np.float64), 0, self.height)
        corners = self.forward()[:2] @ np.array([[x1, x2, x2, x1], [y1, y1, y2, y2], [1.0, 1.0, 1.0, 1.0]])
        low, high = corners.min(axis=1).clip(0, self.size), corners.max(axis=1).clip(0, self.size)
        if x1 >= x2 or y1 >= y2 or (low >= high).any():
            high = low
        return torch.from_numpy(np.concatenate([low, high]).astype(np.float32))


def without_banner(image: Tensor, cut_bottom: int) -> Tensor:
    """An image without its lowest `cut_bottom` rows, (3, H - cut_bottom, W); at least one row is left."""
    return image[:, : max(1, image.shape[1] - cut_bottom)]


def copy_window(square: NDArray[np.uint8], geometry: Geometry, out: NDArray[np.uint8]) -> None:
    """The same as Geometry.window, from the canvas (side, side, 3) into (size, size, 3). Each byte is copied once."""
    size, left, top = geometry.size, geometry.left, geometry.top
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + size, geometry.canvas.width), min(top + size, geometry.canvas.height)
    if (x2 - x1, y2 - y1) != (size, size):
        out.fill(0)  # black outside
    rows = slice(y1 - top, y2 - top)
    source = square[y1:y2, x1:x2]
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


def _turn(angle: float, centre: float) -> Matrix:
    """Rotation about (centre, centre), (3, 3), counter-clockwise as seen, with y pointing down."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    shift = centre * (1 - cos)
    return np.array([[cos, sin, shift - centre * sin], [-sin, cos, shift + centre * sin], [0.0, 0.0, 1.0]])


def eval_geometry(height: int, width: int, spec: DataSpec) -> Geometry:
    """Resize and centre crop, rounded like torchvision's center_crop."""
    canvas = canvas_of(height, width, spec)
    left, top = (round((length - spec.side) / 2) for length in (canvas.width, canvas.height))
    return Geometry(width, height, canvas, spec.side, left, top)


def train_geometry(height: int, width: int, spec: DataSpec, generator: torch.Generator) -> Geometry:
    """Random crop (of the padded canvas), flip and rotation. Uses four random numbers, whatever the spec says."""
    left, top, flip, turn = torch.rand(4, generator=generator).tolist()
    canvas = canvas_of(height, width, spec)
    rooms = (length + 2 * spec.padding - spec.side + 1 for length in (canvas.width, canvas.height))
    left, top = (int(share * room) - spec.padding for share, room in zip((left, top), rooms, strict=True))
    turn = (2 * turn - 1) * spec.rotation
    return Geometry(width, height, canvas, spec.side, left, top, spec.flip and flip < 0.5, turn)


def transform(
    image: Tensor,
    spec: DataSpec,
    *,
    box: NDArray[np.float32] | None = None,
    cut_bottom: int = 0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Network input of an image (3, H, W) uint8: with a generator as in training, without one as in evaluation.

    Returns the input (3, S, S) uint8, its map to the original image's pixels (2, 3) float32, and the box (4,) float32
    in network-input pixels, None without a box. The lowest `cut_bottom` rows are cut off; as they are at the bottom,
    coordinates of the rest are also those of the whole image. Map and box do not include the shears, shifts and
    rotations of `data.augment`.
    """
    picture = without_banner(image, cut_bottom)
    height, width = picture.shape[1:]
    geometry = geometry_of(height, width, spec, generator)
    drawn = geometry.canvas.draw(picture)
    return finish(geometry.window(drawn), geometry, spec, box=box, generator=generator)


def geometry_of(height: int, width: int, spec: DataSpec, generator: torch.Generator | None) -> Geometry:
    """The geometry for an image: random with a generator, that of evaluation without one."""
    return eval_geometry(height, width, spec) if generator is None else train_geometry(height, width, spec, generator)


def finish(
    window: Tensor,
    geometry: Geometry,
    spec: DataSpec,
    *,
    box: NDArray[np.float32] | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The result of `transform`, from a window (3, S, S) uint8 that is cropped and flipped already."""
    pixels = geometry.turned(window)
    if generator is not None:
        pixels = augment(pixels, spec, generator)
    return pixels, geometry.to_original(), None if box is None else geometry.map_box(box)
