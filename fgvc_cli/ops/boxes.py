"""Boxes: xyxy, half-open (x2 = last column + 1), float32, for the whole batch at once and without gradient."""

from __future__ import annotations

import torch
from torch import Tensor


def _pair(x: float, y: float, device: torch.device | None) -> Tensor:
    """(2,) float32, filled on the device: a tensor made from a list would be copied there, which waits for it."""
    return torch.stack([torch.full((), value, dtype=torch.float32, device=device) for value in (x, y)])


def whole_image(batch: int, height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(batch, 4) float32 boxes that cover an image of `height` × `width` pixels."""
    return torch.cat([torch.zeros(2, device=device), _pair(width, height, device)]).expand(batch, 4)


def _span(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First and last + 1 occupied position along dim 1 of (B, n) bool; (n, 0) where there is none."""
    n = occupied.shape[1]
    position = torch.arange(n, device=occupied.device)
    first = torch.where(occupied, position, n).amin(1)
    end = torch.where(occupied, position + 1, 0).amax(1)
    return first, end


@torch.no_grad()
def box_of_mask(mask: Tensor) -> Tensor:
    """Tight box of a mask, per image; an empty mask gives the whole image.

    Args:
        mask: (B, h, w) bool.

    Returns:
        (B, 4) float32 xyxy, half-open, in pixels of the mask.
    """
    batch, h, w = mask.shape
    x1, x2 = _span(mask.any(1))
    y1, y2 = _span(mask.any(2))
    tight = torch.stack([x1, y1, x2, y2], 1).float()
    return torch.where((x2 > 0)[:, None], tight, whole_image(batch, h, w, mask.device))


@torch.no_grad()
def grow_boxes(boxes: Tensor, least: tuple[float, float], bounds: Tensor) -> Tensor:
    """Widen the sides that are too short, about the box's centre, then shift the box inside `bounds`.

    Args:
        boxes: (..., 4) xyxy.
        least: (height, width) no side is shorter than, except where `bounds` itself is.
        bounds: (..., 4) what every box stays in, broadcast against `boxes`.

    Returns:
        (..., 4) float32; a box that is large enough and inside stays as it is.
    """
    boxes, bounds = boxes.float(), bounds.float()
    smallest = _pair(least[1], least[0], boxes.device)
    room = bounds[..., 2:] - bounds[..., :2]
    grown = torch.minimum((boxes[..., 2:] - boxes[..., :2]).maximum(smallest), room)  # width, height
    corner = (boxes[..., :2] + boxes[..., 2:] - grown) / 2
    corner = torch.minimum(torch.maximum(corner, bounds[..., :2]), bounds[..., 2:] - grown)
    return torch.cat([corner, corner + grown], -1)


@torch.no_grad()
def compose_boxes(frame: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes inside a resized crop, in pixels of the image that the crop was taken from.

    Args:
        frame: (B, 4) where the crop lay in the image.
        boxes: (B, R, 4) in pixels of the resized crop.
        size: (height, width) of the resized crop.

    Returns:
        (B, R, 4) float32 in pixels of the image.
    """
    height, width = size
    extent = frame[:, 2:] - frame[:, :2]
    scale = (extent / _pair(width, height, frame.device)).repeat(1, 2)
    return frame[:, :2].repeat(1, 2)[:, None] + boxes.float() * scale[:, None]


@torch.no_grad()
def box_area(boxes: Tensor) -> Tensor:
    """(..., 4) → (...) area; 0 for a box turned inside out."""
    side = (boxes[..., 2:] - boxes[..., :2]).clamp_min(0)
    return side[..., 0] * side[..., 1]


@torch.no_grad()
def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every pair.

    Args:
        first: (..., R, 4).
        second: (..., T, 4), its leading dimensions broadcast against those of `first`.

    Returns:
        (..., R, T) in 0..1; 0 where both boxes are empty.
    """
    a, b = first[..., :, None, :], second[..., None, :, :]
    overlap = box_area(torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], -1))
    union = box_area(a) + box_area(b) - overlap
    return overlap / union.clamp_min(torch.finfo(union.dtype).tiny)
