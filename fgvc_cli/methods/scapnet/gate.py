"""SCAPNet's gate: the scorer that locates parts, and the losses on its scores and mask (Eq. 2, 4, 7, 8)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgvc_cli.methods.base import precise


class LocationModule(nn.Module):
    """The scorer that locates parts: two linear layers on pooled features (Eq. 4), shared by all scales.

    Args:
        channels: C.
        hidden: d.
        bias: what the score "keep" starts with, above "drop"; 0 as in the paper.
    """

    def __init__(self, channels: int, hidden: int, bias: float = 0.0) -> None:
        super().__init__()
        self.w1 = nn.Linear(channels, hidden)
        self.w2 = nn.Linear(hidden, 2)
        with torch.no_grad():
            self.w2.bias[1] += bias

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, n, C) → (B, n, 2) float32 log s; index 1 is "keep"."""
        scores: Tensor = self.w2(self.w1(pooled).relu())
        return precise(scores).log_softmax(-1)


def activation_loss(mask: Tensor) -> Tensor:
    """L_act (Eq. 2) per image: (B, n) → (B,), the squared mean of the mask."""
    return mask.mean(1).square()


def estimated_scores(scores: Tensor, scale: int) -> Tensor:
    """Ŝ of Eq. 7: the mean score of the cells in each window; (B, rows, columns) → (B, n)."""
    return F.avg_pool2d(scores[:, None], scale, stride=1).flatten(1)


def consistency_loss(estimated: Tensor, scores: Tensor, margin: float = 0.1) -> Tensor:
    """L_con (Eq. 8) per image: Ŝ must rank the windows in the same order as S, separated by a margin.

    Args:
        estimated: (B, n) Ŝ^u; receives the gradient.
        scores: (B, n) S^u; only their order is used.
        margin: of the hinge function f.

    Returns:
        (B,) the sum over all pairs i < j; a pair with equal S contributes the margin.
    """
    order = (scores[:, :, None] - scores[:, None, :]).sign().detach()
    gaps = (estimated[:, :, None] - estimated[:, None, :]) * order
    return (margin - gaps).clamp_min(0).triu(1).sum((1, 2))
