"""How well a method's own boxes and maps find the object, where true boxes are known. No box is ever trained on."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from fgvc_cli.data.types import Batch
from fgvc_cli.methods.base import Boxes, Evidence, Maps
from fgvc_cli.ops.boxes import box_area, box_iou, whole_image

Result = dict[str, dict[str, dict[str, float]]]


class Localisation:
    """Sums over images with a true box; nothing is read from the device before `compute`.

    Args:
        mean_box: (4,) mean training box in network-input pixels, what a method that does not look would answer.
    """

    def __init__(self, mean_box: Tensor) -> None:
        self.mean_box = mean_box
        self.sums: dict[tuple[str, str, str], Tensor] = {}
        self.images = torch.zeros((), device=mean_box.device)

    def update(self, evidence: Evidence, batch: Batch) -> None:
        """Count a batch whose `boxes` are the true ones; an image whose box was cropped away does not count."""
        if batch.boxes is None:
            return
        truth, size = batch.boxes, batch.images.shape[2:]
        counted = box_area(truth) > 0
        self.images += counted.sum()
        answers = {name: best_box(boxes) for name, boxes in evidence.boxes.items()}
        answers["whole image"] = whole_image(len(truth), size[0], size[1], truth.device)
        answers["mean training box"] = self.mean_box.expand(len(truth), 4)
        for name, answer in answers.items():
            iou = box_iou(answer[:, None], truth[:, None])[:, 0, 0]
            self._add("boxes", name, "mean_iou", iou, counted)
            self._add("boxes", name, "over_half", (iou >= 0.5).float(), counted)
        for name, maps in evidence.maps.items():
            self._add("maps", name, "pointing", inside(peak(maps), truth).float(), counted)

    def compute(self) -> Result:
        """`boxes`: name → mean_iou, over_half (share of IoU ≥ 0.5); `maps`: name → pointing (peak inside the box)."""
        result: Result = {"boxes": {}, "maps": {}}
        for (kind, name, measure), value in self.sums.items():
            result[kind].setdefault(name, {})[measure] = float(value / self.images)
        return result

    def _add(self, kind: str, name: str, measure: str, values: Tensor, counted: Tensor) -> None:
        key = (kind, name, measure)
        value = torch.where(counted, values, 0).sum()
        self.sums[key] = self.sums[key] + value if key in self.sums else value


def best_box(boxes: Boxes) -> Tensor:
    """(B, 4): of each image's valid boxes the one with the highest score."""
    best = torch.where(boxes.valid, boxes.scores, -torch.inf).argmax(1)
    return boxes.xyxy[torch.arange(len(best), device=best.device), best]


def peak(maps: Maps) -> Tensor:
    """(B, 2) x, y in network-input pixels: the centre of the largest cell of each image's first map."""
    first = maps.values[:, 0]
    height, width = first.shape[1:]
    cell = first.flatten(1).argmax(1)
    place = torch.stack([(cell % width + 0.5) / width, (cell // width + 0.5) / height], 1)
    return maps.frame[:, :2] + place * (maps.frame[:, 2:] - maps.frame[:, :2])


def inside(points: Tensor, boxes: Tensor) -> Tensor:
    """(B,) bool: whether point (B, 2) lies in box (B, 4)."""
    return ((points >= boxes[:, :2]) & (points < boxes[:, 2:])).all(1)


def mean_box(batches: Iterable[Batch], device: torch.device) -> Tensor:
    """(4,) mean true box in network-input pixels over some batches; those cropped away do not count."""
    total, count = torch.zeros(4, device=device), torch.zeros((), device=device)
    for batch in batches:
        if batch.boxes is not None:
            boxes = batch.boxes.to(device)
            counted = box_area(boxes) > 0
            total += torch.where(counted[:, None], boxes, 0).sum(0)
            count += counted.sum()
    return total / count.clamp_min(1)
