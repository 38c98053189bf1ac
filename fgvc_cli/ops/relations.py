"""Relations among the positions of a map: each position becomes a weighted sum over all positions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def dot_product_relation(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """y_i = 1/n Σ_j (q_i·k_j) v_j (CLAN Eq. 2 with Eq. 7), in time and memory linear in n.

    (q_iᵀ k_j) v_j = (v_j k_jᵀ) q_i, and the sum over j of v_j k_jᵀ is the same (e, d) matrix for every i, so the n×n
    matrix of relations is not built. The factor 1/n is applied to the keys, so that no sum overflows in half precision.

    Args:
        query: (B, d, n).
        key: (B, d, n).
        value: (B, e, n).

    Returns:
        (B, e, n).
    """
    context = value @ (key / key.shape[2]).transpose(1, 2)  # (B, e, d)
    return context @ query


def softmax_relation(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """y_i = Σ_j softmax_j(q_i·k_j) v_j, unscaled (CLAN Eq. 2 with Eq. 5, 6), by PyTorch's fused attention.

    Values with fewer channels than the keys are padded with zeros, which are removed from the result: on the CPU the
    fused kernel needs equal widths, and only the fused kernel stores no n×n matrix.

    Args:
        query: (B, d, n).
        key: (B, d, n).
        value: (B, e, n).

    Returns:
        (B, e, n).
    """
    width = value.shape[1]
    if width < query.shape[1]:
        value = F.pad(value, (0, 0, 0, query.shape[1] - width))
    rows = [x.transpose(1, 2).contiguous()[:, None] for x in (query, key, value)]  # (B, 1, n, d): one head
    return F.scaled_dot_product_attention(rows[0], rows[1], rows[2], scale=1.0)[:, 0, :, :width].transpose(1, 2)
