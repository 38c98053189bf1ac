"""Classification metrics of a split, each image counted once.

Values are summed or kept on the device and read after the pass. With several processes, the counts are then summed over
them; the records of single images, whose number differs between processes, are gathered when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgvc_cli.machine.distributed import gathered, total

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
CALIBRATION_BINS = 15
_ROOM = 4096  # images that the first tensors hold


@dataclass(frozen=True)
class ClassCounts:
    """Per class: correctly predicted images, images predicted as the class, images of the class; (K,) each."""

    hits: Integers
    predicted: Integers
    support: Integers

    @property
    def precision(self) -> Floats:
        """(K,) share of a class's predictions that are correct; nan if there are none."""
        return _ratio(self.hits, self.predicted)

    @property
    def recall(self) -> Floats:
        """(K,) share of a class's images that are predicted correctly; nan if there are none."""
        return _ratio(self.hits, self.support)

    @property
    def f1(self) -> Floats:
        """(K,) harmonic mean of precision and recall, 2·TP / (2·TP + FP + FN); nan for a class without images."""
        return np.where(self.support > 0, _ratio(2 * self.hits, self.predicted + self.support), np.nan)

    def measures(self) -> dict[str, float]:
        """top1, mean_per_class (recall) and macro_f1, in 0..1.

        Both means are over the classes that have images. A class without images has no recall and no F1; if it is
        predicted nevertheless, it lowers the measures of the other classes.
        """
        return {
            "top1": float(self.hits.sum() / max(self.support.sum(), 1)),
            "mean_per_class": _mean(self.recall),
            "macro_f1": _mean(self.f1),
        }


def _ratio(part: Integers, whole: Integers) -> Floats:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(values: Floats) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


class BranchCounts:
    """Counts of one branch: three numbers per class, and the images whose label is among the top min(5, K).

    A K×K table would hold the same numbers, but takes 800 MB for 10,000 classes.

    Args:
        num_classes: K.
        device: where the counts are kept.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.top = min(5, num_classes)
        self.hits, self.predicted, self.support = (
            torch.zeros(num_classes, dtype=torch.int64, device=device) for _ in range(3)
        )
        self.within = torch.zeros(1, dtype=torch.int64, device=device)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: (B, K) logits, (B,) int64 labels. No value is read from the device."""
        first, ones = logits.argmax(1), torch.ones_like(labels)
        self.hits.index_add_(0, labels, (first == labels).to(labels.dtype))
        self.predicted.index_add_(0, first, ones)
        self.support.index_add_(0, labels, ones)
        self.within += (logits.topk(self.top, dim=1).indices == labels[:, None]).sum()

    def read(self) -> Integers:
        """(3·K + 1,) of all processes: hits, predicted, support, within. All processes must call this."""
        counts = total(torch.cat([self.hits, self.predicted, self.support, self.within]))
        return cast(Integers, counts.cpu().numpy())


class BranchMetrics:
    """Top-1, top-min(5, K), mean per class and macro F1 for each branch and the final logits.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.branches: dict[str, BranchCounts] = {}

    def update(self, branches: Mapping[str, Tensor], labels: Tensor) -> None:
        """Count a batch: (B, K) logits of each branch, (B,) labels. No value is read from the device."""
        for name, logits in branches.items():
            if name not in self.branches:
                self.branches[name] = BranchCounts(self.num_classes, labels.device)
            self.branches[name].update(logits.float(), labels)

    def counts(self, branch: str = "final") -> ClassCounts:
        """The counts per class of one branch. All processes must call this."""
        return ClassCounts(*self.branches[branch].read()[:-1].reshape(3, -1))

    def compute(self) -> dict[str, dict[str, float]]:
        """Branch → measures, all in 0..1. All processes must call this."""
        return {name: self._measures(counts.read()) for name, counts in self.branches.items()}

    @staticmethod
    def _measures(read: Integers) -> dict[str, float]:
        counts = ClassCounts(*read[:-1].reshape(3, -1))
        measures = counts.measures()
        return {"top1": measures.pop("top1"), "top5": float(read[-1] / max(counts.support.sum(), 1)), **measures}


@dataclass(frozen=True)
class Predicted:
    """The final prediction of N images, (N,) each."""

    index: Integers  # the image's position in the split
    labels: Integers
    classes: Integers  # the predicted class
    confidence: Floats  # softmax probability of the predicted class
    calibrated: Floats  # the same, with temperature scaling

    def calibration(self, temperature: float) -> dict[str, float]:
        """`ece`; at a temperature other than 1 also `temperature` and `ece_calibrated`."""
        right = self.labels == self.classes
        plain = {"ece": calibration_error(self.confidence, right)}
        if temperature == 1:
            return plain
        return plain | {"temperature": temperature, "ece_calibrated": calibration_error(self.calibrated, right)}


class Predictions:
    """Keeps position, label, predicted class and confidence of every image: 32 bytes each.

    They are kept in two tensors that double when they are full. Lists of each batch's tensors would fragment the
    memory: new logits would not fit into the gaps of freed ones, and memory would grow every few batches.

    Args:
        temperature: divides the logits for the calibrated confidence.
        device: where they are kept.
    """

    def __init__(self, temperature: float = 1.0, device: torch.device | str = "cpu") -> None:
        self.temperature = temperature
        self.filled = 0
        # (room, 3) position, label and predicted class, -1 in unused rows; (room, 2) confidence, plain and calibrated
        self.classes = torch.full((_ROOM, 3), -1, device=device)
        self.confidence = torch.zeros(_ROOM, 2, device=device)

    def update(self, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        """Keep a batch: (B, K) final logits, (B,) labels and positions. No value is read from the device."""
        logits, end = logits.float(), self.filled + len(labels)
        while end > len(self.classes):
            self.classes = torch.cat([self.classes, torch.full_like(self.classes, -1)])
            self.confidence = torch.cat([self.confidence, torch.zeros_like(self.confidence)])
        classes, confidence = self.classes[self.filled : end], self.confidence[self.filled : end]
        classes[:, 0], classes[:, 1], classes[:, 2] = index, labels, logits.argmax(1)
        confidence[:, 0] = logits.softmax(1).amax(1)
        scaled = self.temperature != 1
        confidence[:, 1] = (logits / self.temperature).softmax(1).amax(1) if scaled else confidence[:, 0]
        self.filled = end

    def read(self) -> Predicted:
        """Everything kept by all processes, on the CPU, in the split's order. All processes must call this."""
        own = [kept[: self.filled].cpu().numpy() for kept in (self.classes, self.confidence)]
        classes, confidence = (np.concatenate(parts) for parts in zip(*gathered(own), strict=True))
        order = np.argsort(classes[:, 0], kind="stable")
        index, labels, predicted = classes[order].T
        plain, calibrated = confidence[order].astype(np.float64).T
        return Predicted(index, labels, predicted, plain, calibrated)


def calibration_error(confidence: Floats, right: NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy, in 0..1.

    Confidences are sorted into M = `bins` equal bins (m-1)/M < p ≤ m/M. Each bin's gap between mean confidence and
    accuracy is weighted by its share of the images. (Bins closed on the left would put confidences of exactly 1 into a
    bin of their own beside the last.)

    Args:
        confidence: (N,) of the predicted class, 0..1.
        right: (N,) whether the prediction is correct.

    Source: Guo et al., On Calibration of Modern Neural Networks, Eq. 3, https://arxiv.org/abs/1706.04599
    """
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    gap = np.bincount(np.digitize(confidence, edges, right=True), weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / max(len(confidence), 1))
