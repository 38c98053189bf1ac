"""Class means, and class means shrunken to the mean of all."""

from __future__ import annotations

import torch
from torch import Tensor


def shrunken_centroids(features: Tensor, labels: Tensor, classes: int, threshold: float = 0.0) -> tuple[Tensor, Tensor]:
    """The mean of each class, each entry moved to the mean of all by `threshold` standard errors, at most onto it.

    Args:
        features: (N, D).
        labels: (N,) int64.
        classes: K.
        threshold: Δ; 0: the plain means.

    Returns:
        (K, D) centroids, zeros for a class without an image; (K,) int64 images of each class.

    Source: Tibshirani et al., Diagnosis of multiple cancer types by shrunken centroids of gene expression, PNAS 2002,
    equations 1 to 5.
    """
    counts = torch.bincount(labels, minlength=classes)
    sums = features.new_zeros(classes, features.shape[1]).index_add_(0, labels, features)
    centroids = sums / counts.clamp_min(1)[:, None]
    if threshold == 0:
        return centroids, counts
    present = counts > 0
    mean = features.mean(0)
    freedom = max(len(features) - int(present.sum()), 1)
    spread = ((features - centroids[labels]).square().sum(0) / freedom).sqrt()
    spread = spread + spread.quantile(0.5)
    error = (1 / counts.clamp_min(1) - 1 / len(features)).clamp_min(0).sqrt()[:, None] * spread
    scaled = (centroids - mean) / error.clamp_min(torch.finfo(features.dtype).tiny)
    shrunken = mean + scaled.sign() * (scaled.abs() - threshold).clamp_min(0) * error
    return torch.where(present[:, None], shrunken, 0.0), counts
