"""Two-dimensional projections of features: principal components, or t-SNE."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.errors import BadRequest, FgvcError

PROJECTIONS = ("pca", "tsne")
_PCA_BEFORE_TSNE = 50
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Projection:
    """N images as points on a plane."""

    points: Points  # (N, 2)
    axes: tuple[str, str]  # axis labels


def project(features: NDArray[np.float32], method: str) -> Projection:
    """Project (N, D) features to a plane with one of PROJECTIONS. The result is deterministic.

    Raises:
        BadRequest: fewer than three images, an unknown projection, or t-SNE without scikit-learn, which it needs.
        FgvcError: a feature is not finite.
    """
    check_projection(method)
    if len(features) < 3:
        raise BadRequest(f"{len(features)} images are too few for a projection: select at least three")
    if not np.isfinite(features).all():
        raise FgvcError("some features of these images are not finite: nothing can be drawn")
    if method == "tsne":
        return Projection(_tsne(features), ("t-SNE 1", "t-SNE 2"))
    points, share = principal_components(features, 2)
    return Projection(points, (f"component 1 ({share[0]:.1%} of the variance)", f"component 2 ({share[1]:.1%})"))


def check_projection(method: str) -> None:
    """BadRequest if `project` does not support the method; called before features are computed."""
    if method not in PROJECTIONS:
        raise BadRequest(f"--projection {method}: choose {' or '.join(PROJECTIONS)}")
    if method == "tsne" and importlib.util.find_spec("sklearn") is None:
        raise BadRequest("--projection tsne needs scikit-learn: pip install scikit-learn, or use pca")


def principal_components(features: NDArray[np.float32], count: int) -> tuple[Points, Points]:
    """Coordinates on the first principal components, and the fraction of the variance of each.

    They are computed from the eigenvectors of the smaller of X Xᵀ and Xᵀ X in float64, which is exact and fast for any
    D. The sign of a component is chosen such that its coordinate with the largest absolute value is positive, so the
    picture is never mirrored arbitrarily.

    Args:
        features: (N, D).
        count: number of components; missing ones are 0.

    Returns:
        (N, count) coordinates and (count,) fractions.
    """
    centred = features.astype(np.float64)
    centred -= centred.mean(0)
    images, width = centred.shape
    if width < images:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        coordinates = centred @ vectors
    else:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        coordinates = vectors * np.sqrt(values.clip(0))
    order = np.argsort(values)[::-1][:count]
    points = np.zeros((images, count))
    points[:, : len(order)] = coordinates[:, order]
    peaks = points[np.abs(points).argmax(0), np.arange(count)]
    share = np.zeros(count)
    share[: len(order)] = values[order].clip(0) / max(values.clip(0).sum(), np.finfo(np.float64).tiny)
    return points * np.where(peaks < 0, -1, 1), share


def _tsne(features: NDArray[np.float32]) -> Points:
    """t-SNE of the first 50 principal components, initialised with the first two.

    Source: van der Maaten and Hinton, https://jmlr.org/papers/v9/vandermaaten08a.html
    """
    from sklearn.manifold import TSNE

    reduced, _ = principal_components(features, min(_PCA_BEFORE_TSNE, *features.shape))
    perplexity = min(30.0, (len(features) - 1) / 3)
    found: Points = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)
    return found
