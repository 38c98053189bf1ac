"""What is measured on a split, for every branch, each image counted once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassStatScores


class BranchMetrics(nn.Module):
    """Top-1, top-min(5, K) and the mean over classes present, for each branch and the final logits.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.branches = nn.ModuleDict()

    def update(self, branches: Mapping[str, Tensor], labels: Tensor) -> None:
        """Count a batch: (B, K) logits a branch, (B,) labels. No value is read from the device."""
        for name, logits in branches.items():
            if name not in self.branches:
                self.branches[name] = _branch(self.num_classes).to(labels.device)
            cast(MetricCollection, self.branches[name]).update(logits.float(), labels)

    def compute(self) -> dict[str, dict[str, float]]:
        """Branch → measures, all in 0..1."""
        return {name: _measures(cast(MetricCollection, branch).compute()) for name, branch in self.branches.items()}


def _branch(num_classes: int) -> MetricCollection:
    common: dict[str, Any] = {"num_classes": num_classes, "validate_args": False}
    return MetricCollection(
        {
            "counts": MulticlassStatScores(average=None, **common),
            "top5": MulticlassAccuracy(average="micro", top_k=min(5, num_classes), **common),
        },
        compute_groups=False,
    )


def _measures(computed: Mapping[str, Tensor]) -> dict[str, float]:
    counts = computed["counts"].double()  # (K, 5): tp, fp, tn, fn, support
    hits, support = counts[:, 0], counts[:, 4]
    present = support > 0
    per_class = torch.where(present, hits / support.clamp_min(1), 0)
    return {
        "top1": float(hits.sum() / support.sum()),
        "top5": float(computed["top5"]),
        "mean_per_class": float(per_class.sum() / present.sum()),
    }
