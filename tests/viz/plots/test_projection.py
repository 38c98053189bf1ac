"""Principal components beside scikit-learn's, and what can be wrong with features."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from sklearn.decomposition import PCA

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.viz.plots.projection import check_projection, principal_components, project


def features(images: int, width: int) -> np.ndarray:
    dice = np.random.RandomState(0)
    return (dice.randn(images, width) * dice.rand(width) * 9 + 100).astype(np.float32)


@pytest.mark.parametrize(("images", "width"), [(40, 7), (12, 90), (9, 9), (5, 1)])
def test_components_are_scikit_learns(images: int, width: int) -> None:
    values = features(images, width)
    count = min(2, width)
    theirs = PCA(count, svd_solver="full").fit(values.astype(np.float64))
    expected = theirs.transform(values.astype(np.float64))
    found, share = principal_components(values, 2)
    np.testing.assert_allclose(np.abs(found[:, :count]), np.abs(expected), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(share[:count], theirs.explained_variance_ratio_, rtol=1e-8)
    assert found.shape == (images, 2)
    assert np.all(found[:, count:] == 0)
    assert share.sum() <= 1 + 1e-12


def test_a_picture_is_never_mirrored_by_chance() -> None:
    """Each axis points to its farthest image, in whatever order the images and the features come."""
    values = features(20, 6)
    first, _ = principal_components(values, 2)
    order = np.random.RandomState(1).permutation(20)
    np.testing.assert_allclose(principal_components(values[order], 2)[0], first[order], atol=1e-9)
    np.testing.assert_allclose(principal_components(values[:, ::-1], 2)[0], first, atol=1e-9)
    assert np.all(first[np.abs(first).argmax(0), [0, 1]] > 0)


def test_images_that_are_all_the_same() -> None:
    found = project(np.ones((4, 3), np.float32), "pca")
    assert np.all(found.points == 0)
    assert found.axes[0] == "component 1 (0.0% of the variance)"


def test_t_sne_parts_what_is_apart_and_repeats() -> None:
    dice = np.random.RandomState(0)
    values = np.concatenate([dice.randn(15, 8), dice.randn(15, 8) + 30]).astype(np.float32)
    found = project(values, "tsne").points
    assert found.shape == (30, 2)
    np.testing.assert_array_equal(found, project(values, "tsne").points)
    one, two = found[:15], found[15:]
    apart = np.linalg.norm(one.mean(0) - two.mean(0))
    assert apart > 2 * max(np.linalg.norm(part - part.mean(0), axis=1).max() for part in (one, two))
    assert project(values[:3], "tsne").points.shape == (3, 2)


def test_what_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadRequest, match="2 images are too few"):
        project(np.ones((2, 3), np.float32), "pca")
    with pytest.raises(FgvcError, match="not finite"):
        project(np.full((3, 3), np.nan, np.float32), "pca")
    with pytest.raises(BadRequest, match="--projection umap: choose pca or tsne"):
        check_projection("umap")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadRequest, match="needs scikit-learn"):
        check_projection("tsne")
    check_projection("pca")
