"""Crop boxes from maps and resize them, all boxes of all images in one call."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _sample_positions(start: Tensor, end: Tensor, n: int) -> Tensor:
    """(B, R) → (B, R, n) sample positions in pixels; 0.5 is the centre of the first pixel."""
    step = (torch.arange(n, device=start.device, dtype=start.dtype) + 0.5) / n
    positions = start[..., None] + step * (end - start)[..., None]
    middle = (start + end) / 2  # limit for boxes narrower than a pixel, where low would exceed high
    low = torch.minimum(start + 0.5, middle)[..., None]
    high = torch.maximum(end - 0.5, middle)[..., None]
    return torch.minimum(torch.maximum(positions, low), high)


def _sampling_grid(boxes: Tensor, size: tuple[int, int], extent: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """(B, R, 4) → (B, R·size_h, size_w, 2) positions in -1..1 for a map of `extent` (h, w)."""
    boxes = boxes.detach().to(dtype)
    x = _sample_positions(boxes[..., 0], boxes[..., 2], size[1]) * (2 / extent[1]) - 1
    y = _sample_positions(boxes[..., 1], boxes[..., 3], size[0]) * (2 / extent[0]) - 1
    across = x[:, :, None, :].expand(-1, -1, size[0], -1)
    down = y[:, :, :, None].expand(-1, -1, -1, size[1])
    return torch.stack([across, down], -1).flatten(1, 2)


def crop_and_resize(maps: Tensor, boxes: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Crop R boxes from each image's maps and resize them bilinearly.

    Sample positions are half-pixel centres, clamped to the box. For an integer box the result equals
    `interpolate(maps[..., y1:y2, x1:x2], size, mode="bilinear", align_corners=False)`; roi_align instead also reads
    pixels outside the box at its border. The whole batch takes one grid_sample call. Differentiable in `maps`, not in
    `boxes`.

    Args:
        maps: (B, C, h, w).
        boxes: (B, R, 4) xyxy, half-open, in pixels of the maps and inside them.
        size: side of the result, or its (height, width).

    Returns:
        (B, R, C, size, size) of the maps' dtype; sampled in fp32 (fp64 for fp64 maps).
    """
    height, width = (size, size) if isinstance(size, int) else size
    batch, channels, h, w = maps.shape
    precise = torch.promote_types(maps.dtype, torch.float32)
    grid = _sampling_grid(boxes, (height, width), (h, w), precise)
    samples = F.grid_sample(maps.to(precise), grid, mode="bilinear", padding_mode="border", align_corners=False)
    crops = samples.reshape(batch, channels, boxes.shape[1], height, width)
    return crops.transpose(1, 2).to(maps.dtype)
