"""Image → network input, with the affine map back to the image's own pixels.

The transforms are: resize (`fit`), crop, flip, rotate, augment, in this order. A `Geometry` holds the parameters of
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
from fgvc_cli.data.loading.fit import Fitted, fitted, resized
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
class Geometry:
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

    def forward(self) -> Matrix:
        """Matrix from image pixels to network-input pixels, (3, 3)."""
        found = self.fitted
        across, down = found.columns / found.width, found.rows / found.height
        matrix = np.diag([across, down, 1.0])
        matrix[:2, 2] = -self.left - found.x * across, -self.top - found.y * down
        if self.flip:
            matrix = np.array([[-1.0, 0.0, self.size], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ matrix
        return _turn(self.angle, self.size / 2) @ matrix if self.angle else matrix

    def to_original(self) -> Tensor:
        """Matrix from network-input pixels to image pixels, (2, 3) float32."""
        return torch.from_numpy(np.linalg.inv(self.forward())[:2].astype(np.float32))

    def apply(self, picture: Tensor) -> Tensor:
        """(3, height, width) uint8 → (3, size, size) uint8."""
        return self.turned(self.window(resized(picture, self.fitted)))

    def window(self, image: Tensor) -> Tensor:
        """(3, rows, columns) uint8 → (3, size, size), cropped and flipped; `copy_window` does the same for arrays."""
        (x1, x2), (y1, y2) = self.covered()
        window = image[:, y1:y2, x1:x2]
        if (x2 - x1, y2 - y1) != (self.size, self.size):  # not F.crop, which is wrong for windows that miss the image
            window = image.new_zeros(3, self.size, self.size)
            window[:, y1 - self.top : y2 - self.top, x1 - self.left : x2 - self.left] = image[:, y1:y2, x1:x2]
        return F.horizontal_flip(window) if self.flip else window

    def covered(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The columns and the rows of the resized image that lie in the window, each from and to; maybe none."""
        pairs = (self.left, self.fitted.columns), (self.top, self.fitted.rows)
        ends = [(min(max(start, 0), most), min(start + self.size, most)) for start, most in pairs]
        (x1, x2), (y1, y2) = ((start, max(start, end)) for start, end in ends)
        return (x1, x2), (y1, y2)

    def turned(self, pixels: Tensor) -> Tensor:
        """(3, size, size) uint8, cropped and flipped → rotated."""
        return F.rotate(pixels, self.angle, InterpolationMode.BILINEAR) if self.angle else pixels

    def map_box(self, box: NDArray[np.float32]) -> Tensor:
        """A box of the image, (4,), in network-input pixels: the tight box (4,) float32 around its mapped corners.

        If nothing of it is left inside the input, x2 = x1 and y2 = y1.
        """
        found = self.fitted
        x1, x2 = np.clip(box[0::2].astype(np.float64), found.x, found.x + found.width)
        y1, y2 = np.clip(box[1::2].astype(np.float64), found.y, found.y + found.height)
        corners = self.forward()[:2] @ np.array([[x1, x2, x2, x1], [y1, y1, y2, y2], [1.0, 1.0, 1.0, 1.0]])
        low, high = corners.min(axis=1).clip(0, self.size), corners.max(axis=1).clip(0, self.size)
        if x1 >= x2 or y1 >= y2 or (low >= high).any():
            high = low
        return torch.from_numpy(np.concatenate([low, high]).astype(np.float32))


def without_banner(image: Tensor, cut_bottom: int) -> Tensor:
    """An image without its lowest `cut_bottom` rows, (3, H - cut_bottom, W); at least one row is left."""
    return image[:, : max(1, image.shape[1] - cut_bottom)]


def copy_window(image: NDArray[np.uint8], geometry: Geometry, out: NDArray[np.uint8]) -> None:
    """The same as Geometry.window, from (rows, columns, 3) into (size, size, 3). Each byte is copied once."""
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


def _turn(angle: float, centre: float) -> Matrix:
    """Rotation about (centre, centre), (3, 3), counter-clockwise as seen, with y pointing down."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    shift = centre * (1 - cos)
    return np.array([[cos, sin, shift - centre * sin], [-sin, cos, shift + centre * sin], [0.0, 0.0, 1.0]])


def eval_geometry(height: int, width: int, spec: DataSpec) -> Geometry:
    """Resize and centre crop, rounded like torchvision's center_crop."""
    found = fitted(height, width, spec)
    across, down = found.bars
    left, top = round((found.across - spec.side) / 2), round((found.down - spec.side) / 2)
    return Geometry(found, spec.side, left - across, top - down)


def train_geometry(height: int, width: int, spec: DataSpec, generator: torch.Generator) -> Geometry:
    """Random crop (of the padded canvas), flip and rotation. Uses four random numbers, whatever the spec says."""
    left, top, flip, turn = torch.rand(4, generator=generator).tolist()
    found = fitted(height, width, spec)
    across, down = found.bars
    room = 2 * spec.padding - spec.side + 1
    return Geometry(
        found,
        spec.side,
        left=int(left * (found.across + room)) - spec.padding - across,
        top=int(top * (found.down + room)) - spec.padding - down,
        flip=spec.flip and flip < 0.5,
        angle=(2 * turn - 1) * spec.rotation,
    )


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
    return finish(geometry.window(resized(picture, geometry.fitted)), geometry, spec, box=box, generator=generator)


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
