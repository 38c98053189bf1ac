"""Counts of each branch and the final prediction of each image, on the device.

Values are summed or kept on the device and read after the pass. With several processes, the counts are then summed over
them; the records of single images, whose number differs between processes, are gathered when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor

from fgvc_cli.evaluation.metrics import ClassCounts, Integers, Predicted
from fgvc_cli.machine.distributed import gathered, total

_ROOM = 4096  # images that the first tensors hold


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
