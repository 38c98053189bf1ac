"""Square anchors on the cells of a map, the part of a box inside the image, and boxes rounded to whole cells."""

from __future__ import annotations

import torch
from torch import Tensor


def inner_span(cells: int, border: float) -> range:
    """Rows (or columns) of a map without its border: int(b·n) to int((1−b)·n) − 1, at least one.

    Args:
        cells: n ≥ 1.
        border: b in 0..0.5, the fraction excluded on each side.
    """
    start, end = int(border * cells), int((1 - border) * cells)
    return range(start, max(end, start + 1))


def _edges(cells: range, stride: int, side: float, offset: float, length: int, device: torch.device | None) -> Tensor:
    """(n, 2) start and end (exclusive) of the anchors along one axis of an image of `length` pixels."""
    numbers = torch.arange(cells.start, cells.stop, device=device, dtype=torch.float32)
    centre = ((numbers + offset) * stride).clamp_max(length - 1)
    return torch.stack([centre - side / 2, centre + side / 2 + 1], 1)


@torch.no_grad()
def anchor_boxes(
    rows: range,
    columns: range,
    *,
    stride: int,
    side: float,
    offset: float,
    image: tuple[int, int],
    device: torch.device | None = None,
) -> Tensor:
    """One square anchor per cell, centred at (row or column + offset) · stride; it may reach out of the image.

    An anchor reaches from centre − side/2 to centre + side/2 *inclusive*: by this convention a box from x1 to x2 is
    x2 − x1 + 1 wide. The half-open box ends one pixel later, so its IoU equals the IoU computed with "+1".

    Args:
        rows, columns: the map's cells to use, R in total.
        stride: input pixels per cell.
        side: of an anchor, in image pixels.
        offset: 0 puts the centre at the cell's first pixel, 0.5 in its middle.
        image: (height, width); centres are clamped to height − 1 and width − 1.
        device: of the result.

    Returns:
        (R, 4) float32 xyxy, half-open, in row-major order of the cells.
    """
    y = _edges(rows, stride, side, offset, image[0], device)
    x = _edges(columns, stride, side, offset, image[1], device)
    down = y[:, None].expand(-1, len(x), -1)
    across = x[None].expand(len(y), -1, -1)
    return torch.stack([across[..., 0], down[..., 0], across[..., 1], down[..., 1]], 2).flatten(0, 1)


@torch.no_grad()
def inside(boxes: Tensor, image: tuple[int, int]) -> Tensor:
    """What of (..., 4) half-open xyxy boxes lies in an image of (height, width) pixels."""
    height, width = image
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)


@torch.no_grad()
def whole_cells(boxes: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Convert boxes in image pixels to whole cells: from the first pixel's cell to the last pixel's, end exclusive.

    Args:
        boxes: (..., 4) xyxy, half-open, in image pixels.
        stride: input pixels per cell.
        size: (h, w) of the map.

    Returns:
        (..., 4) float32 whole numbers, xyxy, half-open, inside the map; at least one cell per side.
    """
    h, w = size
    first = (boxes[..., :2] / stride).floor()
    first = torch.stack([first[..., 0].clamp(0, w - 1), first[..., 1].clamp(0, h - 1)], -1)
    end = torch.maximum(((boxes[..., 2:] - 1) / stride).floor(), first + 1)
    end = torch.stack([end[..., 0].clamp_max(w), end[..., 1].clamp_max(h)], -1)
    return torch.cat([first, end], -1)
