"""Shrunk covariance and its metric beside scikit-learn and float64 inverses."""

from __future__ import annotations

import pytest
import torch
from sklearn.covariance import LedoitWolf

from fgvc_cli.ops.vectors.mahalanobis import Metric, shrunk_covariance


@pytest.mark.parametrize(("count", "width"), [(200, 5), (20, 30), (3, 8)])
def test_it_is_scikit_learns(count: int, width: int) -> None:
    dice = torch.Generator().manual_seed(count)
    values = torch.randn(count, width, generator=dice) @ torch.randn(width, width, generator=dice)
    centred = values - values.mean(0)
    expected = torch.from_numpy(LedoitWolf(assume_centered=True).fit(centred.double().numpy()).covariance_)
    assert torch.allclose(shrunk_covariance(centred), expected, rtol=1e-6, atol=1e-8)
    metric = Metric.of(shrunk_covariance(centred))
    centres = torch.randn(4, width, generator=dice)
    squared = metric.squared(values, centres)
    inverse = torch.linalg.inv(expected)
    for row in range(3):
        for column in range(4):
            gap = (values[row] - centres[column]).double()
            assert float(squared[row, column]) == pytest.approx(float(gap @ inverse @ gap), rel=1e-3)


def test_equal_vectors_have_a_finite_metric() -> None:
    assert bool(Metric.of(torch.zeros(3, 3)).squared(torch.ones(2, 3), torch.zeros(1, 3)).isfinite().all())
