"""Greedy non-maximum suppression of the whole batch at once, in a fixed number of steps."""

from __future__ import annotations

import torch
from torch import Tensor

from fgvc_cli.ops.boxes import box_iou

_ROWS = 256  # of the matrix computed at a time, which bounds the memory in between


@torch.no_grad()
def overlapping(boxes: Tensor, iou: float) -> Tensor:
    """Which boxes suppress each other: (N, 4) half-open → (N, N) bool, true where IoU > `iou` and on the diagonal."""
    near = torch.cat([box_iou(rows, boxes) > iou for rows in torch.split(boxes, _ROWS)])
    return near | torch.eye(len(boxes), dtype=torch.bool, device=boxes.device)


def greedy_top_k(
    boxes: Tensor, scores: Tensor, valid: Tensor, k: int, iou: float, near: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Greedy NMS of boxes that all images share, keeping at most k.

    k times, for every image at once: take the valid box of the highest score, of equal ones the first, and suppress
    what overlaps it by more than `iou`. Images with fewer boxes to take have slots that are not kept.

    Args:
        boxes: (N, 4) xyxy, half-open, N ≥ 1.
        scores: (B, N) finite.
        valid: (B, N) bool; other boxes are neither kept nor suppress.
        k: slots, at least 1.
        iou: threshold.
        near: `overlapping(boxes, iou)` computed before, where the boxes stay the same from batch to batch; without it
            each step computes the one row an image that it needs.

    Returns:
        (B, k) int64 positions in `boxes`, by falling score, and (B, k) bool: which slots are kept.
    """
    live = scores.detach().masked_fill(~valid, -torch.inf)  # a copy: what follows writes into it
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
    """(B,) positions → (B, N) bool: their rows of `overlapping`."""
    own = torch.arange(len(boxes), device=boxes.device) == index[:, None]
    return (box_iou(boxes[index], boxes) > iou) | own
