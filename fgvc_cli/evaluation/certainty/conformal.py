"""Prediction sets that hold the true class in a wanted share of cases: split conformal prediction with adaptive sets.

A class's score is the probability of all likelier classes and half its own. The set holds the classes whose score is at
most a quantile of the true classes' scores on the validation split, and always the likeliest class.

Source: Romano et al., Classification with Valid and Adaptive Coverage, https://arxiv.org/abs/2006.02544. Their random
share of the class's own probability is its mean here, a half, so that an image has one answer; the guarantee holds for
any score.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fgvc_cli.machine.distributed import gathered, total


def scores(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """The classes (B, K) by falling probability, and their scores (B, K), ascending, in 0..1."""
    ordered = probabilities.sort(dim=1, descending=True, stable=True)
    likelier = ordered.values.cumsum(1) - ordered.values
    return ordered.indices, likelier + ordered.values / 2


def true_scores(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The score (B,) of each image's true class: (B, K) probabilities, (B,) labels."""
    order, score = scores(probabilities)
    return score.gather(1, (order == labels[:, None]).int().argmax(1, keepdim=True))[:, 0]


def set_sizes(score: Tensor, limit: float) -> Tensor:
    """The number (B,) of classes in each set, at least 1, from ascending scores (B, K)."""
    return (score <= limit).sum(1).clamp_min(1)


class SetMeasures:
    """How often prediction sets hold the true class, and how large they are.

    Args:
        coverage: the wanted share, 0..1.
        limit: the quantile for it.
        device: where the counters are.
    """

    def __init__(self, coverage: float, limit: float, device: torch.device) -> None:
        self.coverage, self.limit = coverage, limit
        self.counts = torch.zeros(3, dtype=torch.int64, device=device)  # sets with the truth, of one class, classes
        self.images = 0

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Count a batch: (B, K) calibrated probabilities, (B,) labels. No value is read from the device."""
        order, score = scores(probabilities)
        sizes = set_sizes(score, self.limit)
        place = (order == labels[:, None]).int().argmax(1)
        self.counts += torch.stack([(place < sizes).sum(), (sizes == 1).sum(), sizes.sum()])
        self.images += len(labels)

    def compute(self) -> dict[str, Any]:
        """`asked`, `coverage`, `mean_size`, `single` (share of sets of one class). All processes must call this."""
        images = max(sum(gathered(self.images)), 1)
        held, single, classes = (int(count) for count in total(self.counts).tolist())
        return {
            "asked": self.coverage,
            "coverage": held / images,
            "mean_size": classes / images,
            "single": single / images,
        }
