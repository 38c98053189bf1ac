"""Exact nearest neighbours by blocked matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 1 << 23  # products held at once: 32 MB


def nearest(queries: Tensor, gallery: Tensor, k: int, without: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k rows of the gallery with the largest dot product with each query, largest first.

    With rows of length 1 that is the cosine. Memory is bounded: the gallery is read in blocks, and may be a
    memory-mapped array of any length.

    Args:
        queries: (Q, D) float32.
        gallery: (N, D) float32; of another device than the queries', its blocks are copied there.
        k: 1 to N (N - 1 with `without`).
        without: (Q,) a row of the gallery that does not count for each query (leave-one-out); -1: none.

    Returns:
        (Q, k) products and (Q, k) rows. Of equal products the lower row comes first in a block.
    """
    best = queries.new_full((queries.shape[0], 0), 0.0)
    rows = torch.zeros(queries.shape[0], 0, dtype=torch.int64, device=queries.device)
    whole = torch.compiler.is_exporting()  # in one block, for any number of queries
    step = len(gallery) if whole else max(k, _BLOCK // max(len(queries), 1))
    for first in range(0, len(gallery), step):
        products = queries @ gallery[first : first + step].to(queries.device).mT
        if without is not None:
            own = without.to(queries.device)[:, None] == torch.arange(first, first + products.shape[1]).to(rows.device)
            products = products.masked_fill(own, float("-inf"))
        found = products.topk(min(k, products.shape[1]), dim=1)
        best, rows = torch.cat([best, found.values], 1), torch.cat([rows, found.indices + first], 1)
        kept = best.topk(min(k, best.shape[1]), dim=1)
        best, rows = kept.values, rows.gather(1, kept.indices)
    return best, rows
