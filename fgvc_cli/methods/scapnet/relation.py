"""SCAPNet's relations among parts (Eq. 9-13, 16)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fgvc_cli.methods.parts import precise
from fgvc_cli.ops.boxes import box_iou
from fgvc_cli.ops.geometry import relative_geometry, wave_code

CODE = 64  # dimensions of the geometry's code
LEAST_GEOMETRY = 1e-6  # ReLU's zeros in Eq. 10 would leave a part without any source


class PartRelation(nn.Module):
    """PRM: every part takes up what the others say, by their looks and where they lie (Eq. 9-13, 16).

    Args:
        channels: D.
        heads: N_PRM, each with projections of its own; they share the D channels as evenly as they can.
        key_size: d_k of a head.
        appearance: false: by place alone, ω_P / Σ ω_P.
        geometry: false: by looks alone, the softmax of ω_F.
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

        ω[m, n] is what part n takes of part m; over m it sums to 1.
        """
        weights = self.weights(features, boxes)
        shares = precise(self.value(features)).tensor_split(self.heads, -1)
        # Eq. 12: a sum over six parts at most, element by element, so that autocast leaves it in fp32
        taken = [(weights[:, i, :, :, None] * share[:, :, None]).sum(1) for i, share in enumerate(shares)]
        return features + torch.cat(taken, -1), weights  # Eq. 13, 16

    def weights(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Eq. 11 in fp32: ω_P · exp ω_F over its sum, as a softmax of log ω_P + ω_F."""
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
        """ω_P (Eq. 10): (B, R, 4) → (B, heads, R, R), not negative."""
        code = wave_code(relative_geometry(precise(boxes)), CODE)
        return precise(self.place(code)).relu().permute(0, 3, 1, 2)


class PartGraph(nn.Module):
    """Table X's graph convolution, beside PRM: parts that overlap are neighbours, by their intersection over union.

    f̂ = f + ReLU(D^-½ A D^-½ f W), A being the matrix of the parts' overlaps, each part's with itself being 1.

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
