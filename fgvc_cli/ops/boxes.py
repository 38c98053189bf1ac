"""Boxes and greedy non-maximum suppression, for a whole batch at once and without gradient.

A box is xyxy, half-open (x2 = last column + 1), float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS = 256  # matrix rows computed at a time, which bounds the memory of intermediate results


def _pair(x: float, y: float, device: torch.device | None) -> Tensor:
    """(2,) float32, created on the device: a tensor from a list would be copied there, which synchronises."""
    return torch.stack([torch.full((), value, dtype=torch.float32, device=device) for value in (x, y)])


def whole_image(batch: int, height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(batch, 4) float32 boxes, each covering an image of `height` × `width` pixels."""
    return torch.cat([torch.zeros(2, device=device), _pair(width, height, device)]).expand(batch, 4)


def _span(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First and last + 1 true position along dim 1 of (B, n) bool; (n, 0) where there is none."""
    n = occupied.shape[1]
    position = torch.arange(n, device=occupied.device)
    first = torch.where(occupied, position, n).amin(1)
    end = torch.where(occupied, position + 1, 0).amax(1)
    return first, end


@torch.no_grad()
def box_of_mask(mask: Tensor) -> Tensor:
    """Tight box of a mask, per image; for an empty mask the box of the whole mask.

    Args:
        mask: (B, h, w) bool.

    Returns:
        (B, 4) float32 xyxy, half-open, in mask pixels.
    """
    batch, h, w = mask.shape
    x1, x2 = _span(mask.any(1))
    y1, y2 = _span(mask.any(2))
    tight = torch.stack([x1, y1, x2, y2], 1).float()
    return torch.where((x2 > 0)[:, None], tight, whole_image(batch, h, w, mask.device))


@torch.no_grad()
def grow_boxes(boxes: Tensor, least: tuple[float, float], bounds: Tensor) -> Tensor:
    """Enlarge sides that are too short, around the box's centre, then shift the box inside `bounds`.

    Args:
        boxes: (..., 4) xyxy.
        least: minimum (height, width); a side is shorter only if `bounds` itself is.
        bounds: (..., 4) the box that each result lies in, broadcast against `boxes`.

    Returns:
        (..., 4) float32; a box that is large enough and inside is unchanged.
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
    """Convert boxes inside a resized crop to pixels of the image that the crop was taken from.

    Args:
        frame: (B, 4) the crop's box in the image.
        boxes: (B, R, 4) in pixels of the resized crop.
        size: (height, width) of the resized crop.

    Returns:
        (B, R, 4) float32 in image pixels.
    """
    height, width = size
    extent = frame[:, 2:] - frame[:, :2]
    scale = (extent / _pair(width, height, frame.device)).repeat(1, 2)
    return frame[:, :2].repeat(1, 2)[:, None] + boxes.float() * scale[:, None]


@torch.no_grad()
def box_area(boxes: Tensor) -> Tensor:
    """(..., 4) → (...) area; 0 for a box with x2 < x1 or y2 < y1."""
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


@torch.no_grad()
def overlapping(boxes: Tensor, iou: float) -> Tensor:
    """Which boxes suppress each other: (N, 4) half-open → (N, N) bool, true where IoU > `iou` and on the diagonal."""
    near = torch.cat([box_iou(rows, boxes) > iou for rows in torch.split(boxes, _ROWS)])
    return near | torch.eye(len(boxes), dtype=torch.bool, device=boxes.device)


def greedy_top_k(
    boxes: Tensor, scores: Tensor, valid: Tensor, k: int, iou: float, near: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Greedy NMS that keeps at most k boxes per image; all images have the same boxes but their own scores.

    k times, for all images at once: keep the valid box with the highest score (of equal scores the first), and
    suppress the boxes that overlap it by more than `iou`. An image with fewer boxes has unused slots.

    Args:
        boxes: (N, 4) xyxy, half-open, N ≥ 1.
        scores: (B, N) finite.
        valid: (B, N) bool; other boxes are not kept and suppress none.
        k: number of slots, at least 1.
        iou: threshold.
        near: `overlapping(boxes, iou)`, computed once if the boxes are the same for all batches; without it each step
            computes the one row per image that it needs.

    Returns:
        (B, k) int64 positions in `boxes`, by falling score, and (B, k) bool: which slots are used.
    """
    live = scores.detach().masked_fill(~valid, -torch.inf)  # a copy, which the loop modifies in place
    best, index = live.max(1, keepdim=True)
    found, indices = [best], [index]
    for _ in range(k - 1):
        rows = _rows(boxes, index[:, 0], iou) if near is None else near.index_select(0, index[:, 0])
        best, index = live.masked_fill_(rows, -torch.inf).max(1, keepdim=True)
        found.append(best)
        indices.append(index)
    if k == 1:
        return index, best > -torch.inf
    return torch.cat(indices, 1), torch.cat(found, 1) > -torch.inf


def _rows(boxes: Tensor, index: Tensor, iou: float) -> Tensor:
    """(B,) positions → (B, N) bool: the rows of `overlapping` at these positions."""
    own = torch.arange(len(boxes), device=boxes.device) == index[:, None]
    return (box_iou(boxes[index], boxes) > iou) | own
