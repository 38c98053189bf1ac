"""Image → network input, with the affine map that leads back to the image's own pixels.

Resize to a square, crop, flip, rotate, in this order. What happens to an image is a `Geometry`: drawn (or fixed, in
evaluation) before a pixel is touched, so that a cache or a device can apply the same one. Coordinates are continuous,
0 at the left or top edge of the first pixel.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from fgvc_cli.spec.data import DataSpec

Matrix = NDArray[np.float64]


def mix(*words: int) -> int:
    """One 63-bit seed from whole numbers: stable everywhere, and unrelated for neighbours."""
    packed = struct.pack(f"<{len(words)}Q", *(word & 0xFFFFFFFFFFFFFFFF for word in words))
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


def generator_of(seed: int, epoch: int, index: int) -> torch.Generator:
    """The generator that image `index` of the split draws its augmentation from in an epoch."""
    return torch.Generator().manual_seed(mix(seed, epoch, index))


@dataclass(frozen=True)
class Geometry:
    """How a picture of width × height becomes the network's input: all in pixels, angle in degrees.

    Resized to `side` × `side`; a window of `size` × `size` taken with its corner at (left, top), black where it lies
    outside; mirrored; turned about its centre, counter-clockwise as seen.
    """

    width: int
    height: int
    side: int
    size: int
    left: int
    top: int
    flip: bool = False
    angle: float = 0.0

    def forward(self) -> Matrix:
        """Picture pixels → network-input pixels, (3, 3)."""
        matrix = np.diag([self.side / self.width, self.side / self.height, 1.0])
        matrix[:2, 2] = -self.left, -self.top
        if self.flip:
            matrix = np.array([[-1.0, 0.0, self.size], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ matrix
        return _turn(self.angle, self.size / 2) @ matrix if self.angle else matrix

    def to_original(self) -> Tensor:
        """Network-input pixels → picture pixels, (2, 3) float32."""
        return torch.from_numpy(np.linalg.inv(self.forward())[:2].astype(np.float32))

    def apply(self, picture: Tensor) -> Tensor:
        """(3, height, width) uint8 → (3, size, size) uint8."""
        if (self.height, self.width) != (self.side, self.side):
            picture = F.resize(picture, [self.side, self.side], InterpolationMode.BILINEAR, antialias=True)
        if (self.left, self.top, self.size) != (0, 0, self.side):
            picture = F.crop(picture, self.top, self.left, self.size, self.size)  # black outside
        if self.flip:
            picture = F.horizontal_flip(picture)
        return F.rotate(picture, self.angle, InterpolationMode.BILINEAR) if self.angle else picture

    def map_box(self, box: NDArray[np.float32]) -> Tensor:
        """Tight box (4,) float32 around the corners of a box of the picture; x2 = x1 and y2 = y1 if nothing is left."""
        x1, x2 = np.clip(box[0::2].astype(np.float64), 0, self.width)
        y1, y2 = np.clip(box[1::2].astype(np.float64), 0, self.height)
        corners = self.forward()[:2] @ np.array([[x1, x2, x2, x1], [y1, y1, y2, y2], [1.0, 1.0, 1.0, 1.0]])
        low, high = corners.min(axis=1).clip(0, self.size), corners.max(axis=1).clip(0, self.size)
        if x1 >= x2 or y1 >= y2 or (low >= high).any():
            high = low
        return torch.from_numpy(np.concatenate([low, high]).astype(np.float32))


def _turn(angle: float, centre: float) -> Matrix:
    """Rotation about (centre, centre), counter-clockwise as seen: y points down."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    shift = centre * (1 - cos)
    return np.array([[cos, sin, shift - centre * sin], [-sin, cos, shift + centre * sin], [0.0, 0.0, 1.0]])


def eval_geometry(height: int, width: int, spec: DataSpec) -> Geometry:
    """Resize and centre crop; rounds as torchvision's center_crop does."""
    corner = round((spec.resize_side - spec.image_size) / 2)
    return Geometry(width, height, spec.resize_side, spec.image_size, corner, corner)


def train_geometry(height: int, width: int, spec: DataSpec, generator: torch.Generator) -> Geometry:
    """Random crop (of the padded square), mirror and turn. Four numbers are drawn whatever the spec says."""
    left, top, flip, turn = torch.rand(4, generator=generator).tolist()
    room = spec.resize_side + 2 * spec.padding - spec.image_size + 1
    return Geometry(
        width,
        height,
        spec.resize_side,
        spec.image_size,
        left=int(left * room) - spec.padding,
        top=int(top * room) - spec.padding,
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
    """Network input of an image (3, H, W) uint8: with a generator as in training, without as in evaluation.

    Returns the input (3, S, S) uint8, its map to the original image's pixels (2, 3) float32, and the box (4,) float32
    in network-input pixels, None without a box. `cut_bottom` rows are no part of the picture; since they are at the
    bottom, all coordinates are those of the whole image.
    """
    height, width = image.shape[-2:]
    picture = image[:, : max(1, height - cut_bottom)]
    height = picture.shape[-2]
    geometry = (
        eval_geometry(height, width, spec) if generator is None else train_geometry(height, width, spec, generator)
    )
    return geometry.apply(picture), geometry.to_original(), None if box is None else geometry.map_box(box)
