"""Retrieval: whether an image's nearest other images are of its class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

RANKS = (1, 5, 10)
_BLOCK = 1 << 24  # cosines held at once


def retrieval(embeddings: Tensor, labels: Tensor) -> dict[str, float]:
    """Measures of ranking all other images by cosine, each image being the query once (leave-one-out).

    An image that is alone in its class cannot be found by any other and is no query; it is among what others find.

    Args:
        embeddings: (N, D).
        labels: (N,) int64.

    Returns:
        `queries`, their number; recall_1, recall_5 and recall_10: the share of queries with an image of their class
        among the first so many; `map`: the mean over queries of the average precision over all images of the class.
    """
    unit = F.normalize(embeddings.float(), dim=1)
    counts = torch.bincount(labels)[labels] - 1
    queries = torch.nonzero(counts > 0)[:, 0]
    found = dict.fromkeys(RANKS, 0.0)
    precision = 0.0
    step = max(1, _BLOCK // max(len(unit), 1))
    for first in range(0, len(queries), step):
        chosen = queries[first : first + step]
        cosine = unit[chosen] @ unit.mT
        cosine[torch.arange(len(chosen)), chosen] = -2.0  # itself comes last
        right = (labels[cosine.argsort(dim=1, descending=True, stable=True)] == labels[chosen, None])[:, :-1]
        for rank in RANKS:
            found[rank] += float(right[:, :rank].any(1).sum())
        hits = right.cumsum(1).double() / torch.arange(1, right.shape[1] + 1, device=right.device)
        precision += float(((hits * right).sum(1) / counts[chosen]).sum())
    total = max(len(queries), 1)
    return {
        "queries": len(queries),
        **{f"recall_{rank}": value / total for rank, value in found.items()},
        "map": precision / total,
    }
