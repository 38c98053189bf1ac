"""DropBlock: set a box of each image's maps to zero and scale the other cells."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def cells_inside(boxes: Tensor, h: int, w: int) -> Tensor:
    """(B, 4) boxes in whole cells → (B, h, w) bool: the cells inside the box."""
    y = torch.arange(h, device=boxes.device)
    x = torch.arange(w, device=boxes.device)
    x1, y1, x2, y2 = boxes[..., None].unbind(1)  # (B, 1) each
    down, across = (y >= y1) & (y < y2), (x >= x1) & (x < x2)
    return down[:, :, None] & across[:, None, :]


def dropblock(maps: Tensor, boxes: Tensor, present: Tensor, within: Tensor) -> Tensor:
    """Drop one box per image (AP-CNN Eq. 5) and divide by the image's fraction of cells that are kept (Eq. 6).

    Args:
        maps: (B, C, h, w).
        boxes: (B, 4) boxes to drop, in whole cells, xyxy half-open.
        present: (B,) bool; images where it is false are unchanged.
        within: (B, 4) boxes of the cells that are counted, in whole cells, xyxy half-open; the whole map in the paper.

    Returns:
        (B, C, h, w) of the maps' dtype.
    """
    h, w = maps.shape[2:]
    keep = ~(cells_inside(boxes, h, w) & present[:, None, None])  # Eq. 5: M
    counted = cells_inside(within, h, w)
    ones = (keep & counted).sum((1, 2)).clamp_min(1)
    factor = counted.sum((1, 2)) / ones  # Eq. 6: Count(M) / Count_ones(M)
    return maps * (keep * factor[:, None, None])[:, None].to(maps.dtype)
