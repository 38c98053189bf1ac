"""Resize with antialiasing in numpy, value by value as PyTorch resizes uint8 images on the CPU.

Both compute in whole numbers: weights of 16 bits, sums of 32 bits, rounding after the horizontal and after the vertical
pass. So the results are equal, not only close, and a model that was exported sees what the run saw. The method is
Pillow's (its weights have more bits, so that one value in some hundred differs by 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
_MOST_BITS = 22  # of the fraction of a weight
_CHUNK = 1 << 17  # values of a pass computed at a time: they stay in the processor's cache


def resize(pixels: Pixels, height: int, width: int, interpolation: str) -> Pixels:
    """(H, W, C) uint8 → (height, width, C) uint8.

    `interpolation` is nearest, bilinear or bicubic, the last two with antialiasing.

    Source: aten/src/ATen/native/cpu/UpSampleKernel.cpp of PyTorch (`compute_index_ranges_int16_weights`).
    """
    if interpolation == "nearest":
        return pixels[_nearest(pixels.shape[0], height)][:, _nearest(pixels.shape[1], width)]
    if pixels.shape[1] != width:
        pixels = _resampled(pixels.swapaxes(0, 1), Taps.of(pixels.shape[1], width, interpolation)).swapaxes(0, 1)
    if pixels.shape[0] != height:
        pixels = _resampled(pixels, Taps.of(pixels.shape[0], height, interpolation))
    return pixels


def _nearest(size: int, wanted: int) -> NDArray[np.int64]:
    """The positions that PyTorch's `nearest` takes: floor(i · scale), in float32."""
    scale = np.float32(size) / np.float32(wanted)
    places: NDArray[np.int64] = np.floor(np.arange(wanted, dtype=np.float32) * scale).astype(np.int64)
    return places.clip(max=size - 1)


def _triangle(x: Floats) -> Floats:
    return (1 - np.abs(x)).clip(0)


def _cubic(x: Floats, a: float = -0.5) -> Floats:
    """Keys' cubic convolution, with the a of antialiased resizing."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_FILTERS: dict[str, tuple[int, Callable[[Floats], Floats]]] = {"bilinear": (2, _triangle), "bicubic": (4, _cubic)}


@dataclass(frozen=True)
class Taps:
    """Which of `size` positions each of n new positions reads, and with which weights."""

    first: NDArray[np.int64]  # (n,)
    weights: NDArray[np.int32]  # (n, T), the fraction has `bits` bits; 0 beyond what is read
    bits: int

    @classmethod
    def of(cls, size: int, wanted: int, interpolation: str) -> Taps:
        """For one axis."""
        taps, kernel = _FILTERS[interpolation]
        scale = size / wanted
        stretch = max(scale, 1.0)
        support = taps * 0.5 * stretch
        centre = scale * (np.arange(wanted) + 0.5)
        first = np.maximum((centre - support + 0.5).astype(np.int64), 0)  # towards 0, as C does
        most = int(np.ceil(support)) * 2 + 1
        count = np.clip(np.minimum((centre + support + 0.5).astype(np.int64), size) - first, 0, most)
        place = np.arange(int(count.max()))
        weights = kernel((place + first[:, None] - centre[:, None] + 0.5) * (1 / stretch))
        weights = np.where(place < count[:, None], weights, 0.0)
        weights = weights / weights.sum(1, keepdims=True)
        bits = _bits(float(weights.max()))
        scaled = weights * (1 << bits)
        return cls(first, np.where(scaled < 0, scaled - 0.5, scaled + 0.5).astype(np.int32), bits)


def _bits(largest: float) -> int:
    """The most bits with which the largest weight fits into 16 with its sign."""
    fits = (bits for bits in range(_MOST_BITS) if int(0.5 + largest * (1 << bits + 1)) >= 1 << 15)
    return next(fits, _MOST_BITS)


def _resampled(pixels: Pixels, taps: Taps) -> Pixels:
    """Along the first axis: (size, L, C) → (n, L, C)."""
    size, lines, channels = pixels.shape
    result = np.empty((len(taps.first), lines, channels), dtype=np.uint8)
    step = max(1, _CHUNK // (len(taps.first) * channels))
    for start in range(0, lines, step):
        part = np.ascontiguousarray(pixels[:, start : start + step]).astype(np.int32)
        total = np.full((len(taps.first), *part.shape[1:]), 1 << taps.bits - 1, dtype=np.int32)
        for tap in range(taps.weights.shape[1]):
            rows = part[np.minimum(taps.first + tap, size - 1)]
            rows *= taps.weights[:, tap, None, None]
            total += rows
        result[:, start : start + step] = (total >> taps.bits).clip(0, 255)
    return result
