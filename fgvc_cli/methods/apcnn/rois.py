"""AP-CNN's ROI pyramid and its use (Section 3.2, Algorithm 1), all without gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgvc_cli.ops.anchors import anchor_boxes, inner_span, inside, whole_cells
from fgvc_cli.ops.boxes import greedy_top_k, overlapping, whole_image
from fgvc_cli.spec.methods.apcnn import ApCnnSpec

PIXELS = 448  # the image side that the spec's anchor sides are given at
_MOST = 4096  # anchors of a level whose overlaps are kept (16 MB)

Size = tuple[int, int]


class Rois(NamedTuple):
    """R boxes per image: those of all levels, finest level first, or of one level."""

    boxes: Tensor  # (B, R, 4) xyxy, half-open, in network-input pixels
    scores: Tensor  # (B, R) float32; 0 where not valid
    valid: Tensor  # (B, R) bool


class Anchors(NamedTuple):
    """N candidates of a level."""

    whole: Tensor  # (N, 4) xyxy, half-open, in network-input pixels
    inside: Tensor  # (N, 4) what of them lies in the image
    near: Tensor | None  # (N, N) bool: which suppress each other; None: not precomputed


class RoiPyramid(nn.Module):
    """Selects the ROIs of every level by its spatial gate.

    The anchors outside the border are never candidates, so the candidates depend on the sizes alone and which of them
    suppress each other is computed once, for the image size the method is built for. As in the authors' code,
    whole squares suppress each other, and the selected ones are clipped to the image afterwards.

    Args:
        spec: sizes, border, NMS.
        strides: input pixels a cell, by level.
        maps: (h, w) of the levels for a square image of `image_size` pixels.
        image_size: S.
    """

    def __init__(self, spec: ApCnnSpec, strides: Sequence[int], maps: Sequence[Size], image_size: int) -> None:
        super().__init__()
        self.spec = spec
        self.strides = tuple(strides)
        self.planned = ((image_size, image_size), tuple(maps))
        for level, size in enumerate(maps):
            boxes = self.candidates(level, size, (image_size, image_size), None)
            self.register_buffer(f"boxes{level}", boxes, persistent=False)
            self.register_buffer(f"inside{level}", inside(boxes, (image_size, image_size)), persistent=False)
            near = overlapping(boxes, spec.nms_iou) if len(boxes) <= _MOST else None
            self.register_buffer(f"near{level}", near, persistent=False)

    def spans(self, size: Size) -> tuple[range, range]:
        """Rows and columns of a map that may hold an ROI's centre."""
        return inner_span(size[0], self.spec.border), inner_span(size[1], self.spec.border)

    def candidates(self, level: int, size: Size, image: Size, device: torch.device | None) -> Tensor:
        """(N, 4) anchors, whole, of a level whose map has (h, w) `size`, for images of (H, W) pixels."""
        rows, columns = self.spans(size)
        return anchor_boxes(
            rows,
            columns,
            stride=self.strides[level],
            side=self.spec.anchor_sizes[level] * min(image) / PIXELS,
            offset=self.spec.anchor_offset,
            image=image,
            device=device,
        )

    def of_gates(self, gates: Sequence[Tensor], image: Size) -> list[Rois]:
        """ROIs of each level from (B, 1, h, w) gates, for images of (H, W) pixels.

        A candidate's score is the gate at its cell; it must exceed the mean of the map, border cells counting as 0.
        """
        return [self.select(level, gate, image) for level, gate in enumerate(gates)]

    def select(self, level: int, gate: Tensor, image: Size) -> Rois:
        """The ROIs of one level."""
        _, _, h, w = gate.shape
        rows, columns = self.spans((h, w))
        scores = gate.detach()[:, 0, rows.start : rows.stop, columns.start : columns.stop].float().flatten(1)
        mean = scores.sum(1, keepdim=True) / (h * w)
        if scores.shape[1] == h * w:  # without a border; rounding must not take the mean of equal values below them
            mean = mean.maximum(scores.amin(1, keepdim=True))
        valid = scores > mean
        anchors, spec = self._anchors(level, (h, w), image, gate.device), self.spec
        index, kept = greedy_top_k(anchors.whole, scores, valid, spec.top_k[level], spec.nms_iou, anchors.near)
        return Rois(F.embedding(index, anchors.inside), scores.gather(1, index) * kept, kept)

    def _anchors(self, level: int, size: Size, image: Size, device: torch.device) -> Anchors:
        """The precomputed candidates, or for other image sizes new ones without overlaps."""
        planned, maps = self.planned
        if image != planned or size != maps[level]:
            boxes = self.candidates(level, size, image, device)
            return Anchors(boxes, inside(boxes, image), None)
        whole, cut = (self.get_buffer(f"{name}{level}").float() for name in ("boxes", "inside"))
        return Anchors(whole, cut, self._buffers[f"near{level}"])


@torch.no_grad()
def random_rois(pyramid: RoiPyramid, maps: Sequence[Size], image: Size, like: Tensor, training: bool) -> list[Rois]:
    """ROIs as from gates of uniform noise (Table 4, "Random"). In evaluation none is valid and nothing is drawn.

    `like` (B, ...) tells batch and device.
    """
    rois = []
    for level, (h, w) in enumerate(maps):
        shape, device = (like.shape[0], 1, h, w), like.device
        noise = torch.rand(shape, device=device) if training else torch.zeros(shape, device=device)
        rois.append(pyramid.select(level, noise, image))
    return rois


def joined(rois: Sequence[Rois]) -> Rois:
    """R_all: the ROIs of all levels, concatenated."""
    return Rois(*(torch.cat(parts, 1) for parts in zip(*rois, strict=True)))


@torch.no_grad()
def merged_cells(rois: Rois, stride: int, size: Size) -> Tensor:
    """The rectangle around all valid ROIs of each image, in whole cells of a map; the whole map if none is valid.

    Args:
        rois: of all levels.
        stride: input pixels a cell of the map.
        size: (h, w) of the map.

    Returns:
        (B, 4) xyxy, half-open: t_x1, t_y1, t_x2, t_y2 of Eq. 7.
    """
    valid = rois.valid[..., None]
    first = torch.where(valid, rois.boxes[..., :2], torch.inf).amin(1)
    end = torch.where(valid, rois.boxes[..., 2:], -torch.inf).amax(1)
    cells = whole_cells(torch.cat([first, end], 1), stride, size)
    return torch.where(valid.any(1), cells, whole_image(cells.shape[0], *size, cells.device))


@torch.no_grad()
def chosen_roi(rois: Sequence[Rois], rates: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The random choice of Algorithm 1, for each image: a level by its rate, then one of its valid ROIs.

    Args:
        rois: by level.
        rates: P, by level; what is left to 1 drops nothing.

    Returns:
        (B, 4) the box and (B,) bool: whether there is one.
    """
    everything = joined(rois)
    batch, count = everything.valid.shape
    device = everything.valid.device
    level_die, roi_dice = torch.rand(batch, 1, device=device), torch.rand(batch, count, device=device)
    eligible, low = [], 0.0
    for level, rate in zip(rois, rates, strict=True):
        eligible.append(level.valid & (level_die >= low) & (level_die < low + rate))
        low += rate
    mine = torch.cat(eligible, 1)
    index = torch.where(mine, roi_dice, -1.0).argmax(1)
    box = everything.boxes.gather(1, index[:, None, None].expand(-1, 1, 4))[:, 0]
    return box, mine.any(1)
