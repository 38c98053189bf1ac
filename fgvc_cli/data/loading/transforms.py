"""Image → network input, with the affine map back to the image's own pixels.

The transforms are: resize (`fit`), crop, flip, rotate, augment, in this order. A `Geometry` holds the parameters of
all but the last. They are chosen (at random in training, fixed in evaluation) before any pixel is processed, so that a
cache or a device can apply the same transforms. Coordinates are continuous, 0 at the left or top edge of the first
pixel.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from fgvc_cli.data.loading.augment import augment
from fgvc_cli.data.loading.fit import Fitted, fitted
from fgvc_cli.data.loading.light.window import Window
from fgvc_cli.spec.data import DataSpec


def mix(*words: int) -> int:
    """One 63-bit seed from integers: the same on every machine, and unrelated for neighbouring integers."""
    packed = struct.pack(f"<{len(words)}Q", *(word & 0xFFFFFFFFFFFFFFFF for word in words))
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


def generator_of(seed: int, epoch: int, index: int) -> torch.Generator:
    """The random generator for the augmentation of image `index` of the split in an epoch."""
    return torch.Generator().manual_seed(mix(seed, epoch, index))


def resized(picture: Tensor, found: Fitted) -> Tensor:
    """(3, H, W) uint8 → (3, rows, columns) uint8. This precedes every random transform, so it can be cached."""
    part = picture[:, found.y : found.y + found.height, found.x : found.x + found.width]
    if tuple(part.shape[1:]) == (found.rows, found.columns):
        return part
    mode = InterpolationMode(found.interpolation)
    result: Tensor = F.resize(part, [found.rows, found.columns], mode, antialias=True)
    return result


class Geometry(Window):
    """A window, and what it does to tensors."""

    def to_original(self) -> Tensor:
        """Matrix from network-input pixels to image pixels, (2, 3) float32."""
        return torch.from_numpy(self.backward())

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


def eval_geometry(height: int, width: int, spec: DataSpec) -> Geometry:
    """Resize and centre crop."""
    return Geometry.centred(height, width, spec)


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
