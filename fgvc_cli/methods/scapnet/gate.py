"""SCAPNet's gate: the scorer that locates parts, and the losses on its scores and mask (Eq. 2, 4, 7, 8)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fgvc_cli.methods.parts import precise


class LocationModule(nn.Module):
    """The whole of what locates parts: two linear layers over pooled features (Eq. 4), shared by all scales.

    Args:
        channels: C.
        hidden: d.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(channels, hidden)
        self.w2 = nn.Linear(hidden, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, n, C) → (B, n, 2) float32 log s; index 1 is "keep"."""
        scores: Tensor = self.w2(self.w1(pooled).relu())
        return precise(scores).log_softmax(-1)


def activation_loss(mask: Tensor) -> Tensor:
    """L_act (Eq. 2) of each image: (B, n) → (B,) the square of the mask's mean."""
    return mask.mean(1).square()


def estimated_scores(scores: Tensor, scale: int) -> Tensor:
    """Ŝ of Eq. 7: the mean score of the cells in each window; (B, rows, columns) → (B, n)."""
    return F.avg_pool2d(scores[:, None], scale, stride=1).flatten(1)


def consistency_loss(estimated: Tensor, scores: Tensor, margin: float = 0.1) -> Tensor:
    """L_con (Eq. 8) of each image: windows must be in the same order by Ŝ as by S, a margin apart.

    Args:
        estimated: (B, n) Ŝ^u, which the gradient goes to.
        scores: (B, n) S^u, of which only the order counts.
        margin: of the hinge f.

    Returns:
        (B,) the sum over the pairs i < j; a tie in S costs the margin.
    """
    order = (scores[:, :, None] - scores[:, None, :]).sign().detach()
    gaps = (estimated[:, :, None] - estimated[:, None, :]) * order
    return (margin - gaps).clamp_min(0).triu(1).sum((1, 2))
