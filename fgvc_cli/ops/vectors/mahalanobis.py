"""Distances in the metric of a covariance that is estimated from few vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def shrunk_covariance(centred: Tensor, width: int | None = None) -> Tensor:
    """Covariance (D, D) float64 of centred vectors (N, D), shrunk towards the multiple of the identity of its trace.

    The shrinkage minimises the expected squared error of the estimate, so it can be inverted even where D > N.

    `width`: that of the vectors whose coordinates in an orthonormal basis of their span these are; None: D. The result
    is then the part within that span of the covariance (width, width).

    Source: Ledoit and Wolf, A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices, J. Multivariate
    Analysis 88 (2004), Eq. 14 and Lemmas 3.2 to 3.5.
    """
    values = centred.double()
    count, least = values.shape
    covariance = values.mT @ values / count
    scale = covariance.diagonal().sum() / (width or least)
    target = scale * torch.eye(least, dtype=values.dtype, device=values.device)
    distance = (covariance - target).square().sum() + ((width or least) - least) * scale.square()
    lengths = values.square().sum(1)
    spread = (lengths.square().sum() / count - covariance.square().sum()) / count  # of single vectors around the mean
    share = float((spread / distance).clamp(0, 1)) if float(distance) > 0 else 1.0
    return (1 - share) * covariance + share * target


@dataclass(frozen=True)
class Metric:
    """Squared distances in the metric of a covariance's inverse."""

    whitener: Tensor  # (D, D) float32; the covariance of vectors times it is the identity

    @classmethod
    def of(cls, covariance: Tensor) -> Metric:
        """The metric of a covariance (D, D)."""
        covariance = covariance.double()
        # Vectors that are all equal have a covariance of 0.
        least = 1e-10 * covariance.diagonal().mean().clamp_min(1e-12)
        factor = torch.linalg.cholesky(covariance + least * torch.eye(len(covariance), device=covariance.device))
        identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
        return cls(torch.linalg.solve_triangular(factor, identity, upper=False).mT.float().contiguous())

    def squared(self, vectors: Tensor, centres: Tensor) -> Tensor:
        """(B, K) squared distances of vectors (B, D) from centres (K, D)."""
        return torch.cdist(
            vectors @ self.whitener, centres @ self.whitener, compute_mode="donot_use_mm_for_euclid_dist"
        ).square()
