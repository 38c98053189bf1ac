"""The directions in which vectors differ."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 1e-10  # share of the largest variance below which a direction is float32's rounding of the vectors


def principal_axes(vectors: Tensor) -> Tensor:
    """Principal axes of vectors (N, D), the largest variance last: (D, R) float64, orthonormal, with R ≤ min(N, D).

    All vectors less their mean lie in the span of the axes. With N < D they come from the vectors' inner products: a
    decomposition of the vectors themselves takes ten times as long.
    """
    # In float32 LAPACK gives up on the covariance of fewer vectors than entries; MPS has no float64.
    values = vectors.to("cpu" if vectors.device.type == "mps" else vectors.device).double()
    centred = values - values.mean(0)
    if len(centred) >= centred.shape[1]:
        axes: Tensor = torch.linalg.eigh(centred.mT @ centred)[1]
    else:
        variances, combinations = torch.linalg.eigh(centred @ centred.mT)
        seen = variances > _LEAST * variances[-1]
        axes = centred.mT @ (combinations[:, seen] / variances[seen].sqrt())
    return axes
