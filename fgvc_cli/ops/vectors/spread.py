"""Vectors that are spread out: the greedy k-centre algorithm."""

from __future__ import annotations

import torch
from torch import Tensor


def k_centres(vectors: Tensor, weights: Tensor, count: int) -> Tensor:
    """(k,) rows, k = min(count, N): first the heaviest, then each time the row with the largest product of its weight
    and its distance from the nearest row chosen before.

    With equal weights, no vector is more than twice as far from the chosen ones as with the best choice (Gonzalez,
    Clustering to Minimize the Maximum Intercluster Distance, 1985; for active learning Sener and Savarese,
    https://arxiv.org/abs/1708.00489).

    Args:
        vectors: (N, D), N ≥ 1.
        weights: (N,), at least 0.
        count: at least 1.
    """
    row = int(weights.argmax())
    chosen = [row]
    distance = torch.full_like(weights, torch.inf)
    while len(chosen) < min(count, len(vectors)):
        distance = torch.minimum(distance, (vectors - vectors[row]).square().sum(1).sqrt())
        reached = weights * distance
        reached[chosen] = -1
        row = int(reached.argmax())
        chosen.append(row)
    return torch.tensor(chosen, dtype=torch.int64)
