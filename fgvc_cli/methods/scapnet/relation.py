"""SCAPNet's relations among parts (Eq. 9-13, 16)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fgvc_cli.methods.base import precise
from fgvc_cli.ops.boxes import box_iou
from fgvc_cli.ops.geometry import relative_geometry, wave_code

CODE = 64  # dimensions of the geometry encoding
LEAST_GEOMETRY = 1e-6  # if ReLU (Eq. 10) made all weights of a part zero, Eq. 11 would divide by zero


class PartRelation(nn.Module):
    """PRM: each part's feature is updated from all parts, weighted by appearance and geometry (Eq. 9-13, 16).

    Args:
        channels: D.
        heads: N_PRM, each with its own projections; the D channels are divided among them as evenly as possible.
        key_size: d_k of a head.
        appearance: false: weights from geometry only, ω_P / Σ ω_P.
        geometry: false: weights from appearance only, the softmax of ω_F.
    """

    def __init__(
        self, channels: int, heads: int = 1, key_size: int = 64, *, appearance: bool = True, geometry: bool = True
    ) -> None:
        super().__init__()
        self.heads, self.key_size = heads, key_size
        if appearance:
            self.key = nn.Linear(channels, heads * key_size, bias=False)  # W_K
            self.query = nn.Linear(channels, heads * key_size, bias=False)  # W_Q
        if geometry:
            self.place = nn.Linear(CODE, heads, bias=False)  # W_P
        self.appearance, self.geometry = appearance, geometry
        self.value = nn.Linear(channels, channels, bias=False)  # W_V

    def forward(self, features: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Parts (B, R, D) at boxes (B, R, 4) → f̂ (B, R, D) and ω (B, heads, R, R).

        ω[m, n] is the weight of part m in the update of part n; it sums to 1 over m.
        """
        weights = self.weights(features, boxes)
        shares = precise(self.value(features)).tensor_split(self.heads, -1)
        # Eq. 12: the sum has few terms (six parts by default). Element-wise operations stay in fp32 under autocast.
        taken = [(weights[:, i, :, :, None] * share[:, :, None]).sum(1) for i, share in enumerate(shares)]
        return features + torch.cat(taken, -1), weights  # Eq. 13, 16

    def weights(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Eq. 11 in fp32: ω_P · exp ω_F divided by its sum, computed as the softmax of log ω_P + ω_F."""
        logits = torch.zeros((), device=features.device)
        if self.appearance:
            logits = logits + self.appearance_logits(features)
        if self.geometry:
            logits = logits + self.geometry_weights(boxes).clamp_min(LEAST_GEOMETRY).log()
        return logits.softmax(2)

    def appearance_logits(self, features: Tensor) -> Tensor:
        """ω_F (Eq. 9): (B, R, D) → (B, heads, R, R)."""
        shape = (*features.shape[:2], self.heads, self.key_size)
        key, query = precise(self.key(features)).view(shape), precise(self.query(features)).view(shape)
        products: Tensor = (key[:, :, None] * query[:, None]).sum(-1)  # (B, m, n, heads)
        return products.permute(0, 3, 1, 2) / math.sqrt(self.key_size)

    def geometry_weights(self, boxes: Tensor) -> Tensor:
        """ω_P (Eq. 10): (B, R, 4) → (B, heads, R, R), non-negative."""
        code = wave_code(relative_geometry(precise(boxes)), CODE)
        return precise(self.place(code)).relu().permute(0, 3, 1, 2)


class PartGraph(nn.Module):
    """Graph convolution, the alternative to PRM in Table X. Edge weights are the parts' intersection over union.

    f̂ = f + ReLU(D^-½ A D^-½ f W); A is the matrix of pairwise IoU (1 on the diagonal), D its degree matrix.

    Source: Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks,
    https://arxiv.org/abs/1609.02907
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Linear(channels, channels, bias=False)

    def forward(self, features: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Parts (B, R, D) at boxes (B, R, 4) → f̂ (B, R, D) and the adjacency (B, 1, R, R)."""
        overlap = box_iou(boxes, boxes)
        degree = overlap.sum(2).rsqrt()
        adjacency = overlap * degree[:, :, None] * degree[:, None]
        spread = (adjacency[..., None] * precise(self.weight(features))[:, :, None]).sum(1)
        return features + spread.relu(), adjacency[:, None]
