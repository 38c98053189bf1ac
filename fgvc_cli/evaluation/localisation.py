"""How well a method's boxes and maps find the object and its parts, if those are known. Training never uses this."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fgvc_cli.data.types import Batch, DatasetIndex, Split
from fgvc_cli.machine.distributed import total
from fgvc_cli.methods.base import Boxes, Evidence, Maps
from fgvc_cli.ops.boxes import box_area, box_iou, whole_image
from fgvc_cli.ops.cam import says_where
from fgvc_cli.ops.geometry import to_input, to_original

PART_REACH = 0.15  # of the true box's longer side
_GRID = 12  # points per side that represent a box


@dataclass(frozen=True)
class TellingParts:
    """Where the parts of a split's N images are, and which parts tell two classes apart.

    For an image, a part is *telling* if it is visible, lies in the network's input, and its option differs between the
    true class and its rival: the other class with the highest logit.
    """

    points: Tensor  # (N, P, 3) x, y, visible; pixels of the original image
    reach: Tensor  # (N,) largest distance of a hit, pixels of the original image
    options: Tensor  # (K, P) int64: two classes have the same option of a part if the numbers are equal

    @classmethod
    def of(cls, index: DatasetIndex, split: Split, device: torch.device) -> TellingParts | None:
        """The parts of a split; None if parts, their options or boxes are not known."""
        if split.parts is None or split.boxes is None or len(index.part_options) != len(index.classes):
            return None
        names = np.array(index.part_options)  # (K, P)
        columns = [np.unique(column, return_inverse=True)[1] for column in names.T]
        sides = split.boxes[:, 2:] - split.boxes[:, :2]
        return cls(
            torch.from_numpy(split.parts).to(device),
            torch.from_numpy(PART_REACH * sides.max(1)).to(device),
            torch.from_numpy(np.stack(columns, 1)).to(device),
        )

    def telling(self, batch: Batch, logits: Tensor) -> Tensor:
        """(B, P) bool: which parts are telling, given the (B, K) final logits."""
        rival = logits.float().scatter(1, batch.labels[:, None], -torch.inf).argmax(1)
        points = self.points[batch.index]
        size = points.new_full((2,), batch.images.shape[-1])
        places = to_input(batch.to_original, points[..., :2])
        seen = (points[..., 2] > 0) & ((places >= 0) & (places < size)).all(2)
        return seen & self.options[batch.labels].ne(self.options[rival])

    def near(self, batch: Batch, points: Tensor, telling: Tensor) -> Tensor:
        """(B, Q) bool: which points (B, Q, 2), in network-input pixels, lie within reach of a telling part."""
        gaps = to_original(batch.to_original, points)[:, :, None] - self.points[batch.index][:, None, :, :2]
        within: Tensor = gaps.square().sum(3) <= self.reach[batch.index][:, None, None].square()  # (B, Q, P)
        return (within & telling[:, None]).any(2)


class Localisation:
    """Localisation measures of images with a true box; nothing is read from the device before `compute`.

    Args:
        mean_box: (4,) mean training box in network-input pixels, the answer of a baseline that ignores the image.
        parts: the split's parts, if it is known which of them tell classes apart.
    """

    def __init__(self, mean_box: Tensor, parts: TellingParts | None = None) -> None:
        self.mean_box = mean_box
        self.parts = parts
        self.sums: dict[tuple[str, str, str], tuple[Tensor, Tensor]] = {}  # sum of values, number of images

    def update(self, evidence: Evidence, batch: Batch, logits: Tensor) -> None:
        """Count a batch whose `boxes` are the true boxes; images whose box was cropped away are not counted.

        `logits` (B, K) are the final ones.
        """
        if batch.boxes is None:
            return
        truth, counted = batch.boxes, box_area(batch.boxes) > 0
        for name, answer in self._answers(evidence, batch, len(truth)).items():
            iou = box_iou(answer[:, None], truth[:, None])[:, 0, 0]
            self._add("boxes", name, "mean_iou", iou, counted)
            self._add("boxes", name, "over_half", (iou >= 0.5).float(), counted)
        peaks = {name: peak(maps) for name, maps in evidence.maps.items() if has_peak(maps)}
        for name, place in peaks.items():
            self._add("maps", name, "pointing", inside(place, truth).float(), counted)
        if self.parts is not None:
            self._update_parts(self.parts, batch, logits, peaks, counted)

    def compute(self) -> dict[str, Any]:
        """The measures; shares are in 0..1.

        `boxes`: name → mean_iou, over_half (share of IoU ≥ 0.5). `maps`: name → pointing (share of peaks inside the
        box) and, with parts, pointing_part (share of peaks within reach of a telling part). With parts also `parts`:
        `images` with a telling part in view, `reach` as a fraction of the box's longer side, `random_point` (share of
        hits of a random point in the box).
        """
        result: dict[str, Any] = {"boxes": {}, "maps": {}}
        sums = {key: (total(value), total(images)) for key, (value, images) in self.sums.items()}
        for (kind, name, measure), (value, images) in sums.items():
            if kind != "parts" and images > 0:
                result[kind].setdefault(name, {})[measure] = float(value / images)
        random = sums.get(("parts", "", "random_point"))
        if random is not None and random[1] > 0:
            share = float(random[0] / random[1])
            result["parts"] = {"images": int(random[1]), "reach": PART_REACH, "random_point": share}
        return result

    def _answers(self, evidence: Evidence, batch: Batch, count: int) -> dict[str, Tensor]:
        """Boxes (B, 4) by name: the method's own, and two baselines that ignore the image."""
        answers = {name: best_box(boxes) for name, boxes in evidence.boxes.items()}
        height, width = batch.images.shape[2:]
        answers["whole image"] = whole_image(count, height, width, batch.images.device)
        answers["mean training box"] = self.mean_box.expand(count, 4)
        return answers

    def _update_parts(
        self, parts: TellingParts, batch: Batch, logits: Tensor, peaks: dict[str, Tensor], counted: Tensor
    ) -> None:
        assert batch.boxes is not None
        telling = parts.telling(batch, logits)
        counted = counted & telling.any(1)
        for name, place in peaks.items():
            self._add("maps", name, "pointing_part", parts.near(batch, place[:, None], telling).float()[:, 0], counted)
        chance = parts.near(batch, spread(batch.boxes), telling).float().mean(1)
        self._add("parts", "", "random_point", chance, counted)

    def _add(self, kind: str, name: str, measure: str, values: Tensor, counted: Tensor) -> None:
        key = (kind, name, measure)
        value, images = torch.where(counted, values, 0).sum(), counted.sum()
        before = self.sums.get(key)
        self.sums[key] = (value, images) if before is None else (before[0] + value, before[1] + images)


def best_box(boxes: Boxes) -> Tensor:
    """(B, 4): the valid box with the highest score of each image."""
    best = torch.where(boxes.valid, boxes.scores, -torch.inf).argmax(1)
    return boxes.xyxy[torch.arange(len(best), device=best.device), best]


def has_peak(maps: Maps) -> bool:
    """Whether a map's peak is meaningful: not for the first of many raw channels, nor for a map of a single cell."""
    return maps.kind != "channels" and maps.values.shape[2:].numel() > 1


def peak(maps: Maps) -> Tensor:
    """(B, 2) x, y in network-input pixels: the centre of the largest cell of each image's first map.

    NaN, which lies in no box and near no part, if the map says nothing: no value above zero, all equal, or not finite.
    """
    first = maps.values[:, 0]
    height, width = first.shape[1:]
    cell = first.flatten(1).argmax(1)
    place = torch.stack([(cell % width + 0.5) / width, (cell // width + 0.5) / height], 1)
    place = torch.where(says_where(first)[:, None], place, torch.nan)
    return maps.frame[:, :2] + place * (maps.frame[:, 2:] - maps.frame[:, :2])


def inside(points: Tensor, boxes: Tensor) -> Tensor:
    """(B,) bool: whether point (B, 2) lies in box (B, 4)."""
    return ((points >= boxes[:, :2]) & (points < boxes[:, 2:])).all(1)


def spread(boxes: Tensor) -> Tensor:
    """(B, 4) → (B, 144, 2): the centres of a 12 x 12 grid's cells over each box."""
    line = (torch.arange(_GRID, device=boxes.device) + 0.5) / _GRID
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), 2).view(1, -1, 2)
    return boxes[:, None, :2] + grid * (boxes[:, None, 2:] - boxes[:, None, :2])


def mean_box(batches: Iterable[Batch], device: torch.device) -> Tensor:
    """(4,) mean true box over batches, in network-input pixels; boxes that were cropped away are not counted."""
    total, count = torch.zeros(4, device=device), torch.zeros((), device=device)
    for batch in batches:
        if batch.boxes is not None:
            boxes = batch.boxes.to(device)
            counted = box_area(boxes) > 0
            total += torch.where(counted[:, None], boxes, 0).sum(0)
            count += counted.sum()
    return total / count.clamp_min(1)
