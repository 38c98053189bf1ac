from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from fgvc_cli.ops.vectors.logistic import fit_logistic

N, D, K = 240, 12, 4


def data(seed: int = 0, spread: float = 1.5) -> tuple[Tensor, Tensor]:
    dice = torch.Generator().manual_seed(seed)
    labels = torch.arange(N) % K
    centres = torch.randn(K, D, generator=dice)
    scales = torch.logspace(-1, 1, D)  # as features of networks differ
    return (centres[labels] + spread * torch.randn(N, D, generator=dice)) * scales + 3, labels


def objective(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, strength: float) -> float:
    """scikit-learn's, to the letter, in float64."""
    logits = features.double() @ weight.double().T + bias.double()
    losses = F.cross_entropy(logits, labels, reduction="none")
    return float(strength * losses.sum() + 0.5 * weight.double().square().sum())


@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
def test_it_finds_the_minimum_that_scikit_learn_finds(strength: float) -> None:
    features, labels = data()
    fitted = fit_logistic(features, labels, K, torch.tensor([strength]))
    theirs = LogisticRegression(C=strength, max_iter=20_000, tol=1e-10).fit(features.double().numpy(), labels.numpy())
    weight, bias = torch.from_numpy(theirs.coef_), torch.from_numpy(theirs.intercept_)
    ours = objective(features, labels, fitted.weight[0], fitted.bias[0], strength)
    assert ours <= objective(features, labels, weight, bias, strength) * (1 + 1e-4)
    probabilities = fitted.logits(features)[0].softmax(1).numpy()
    np.testing.assert_allclose(probabilities, theirs.predict_proba(features.double().numpy()), atol=0.01)


def test_problems_side_by_side_are_the_problems_one_by_one() -> None:
    features, labels = data()
    strengths = torch.tensor([0.01, 1.0, 0.1])
    kept = (torch.rand(3, N, generator=torch.Generator().manual_seed(1)) < 0.7).float()
    together = fit_logistic(features, labels, K, strengths, kept)
    for number in range(3):
        inside = kept[number] > 0
        alone = fit_logistic(features[inside], labels[inside], K, strengths[number : number + 1])
        a, b = together.logits(features)[number].softmax(1), alone.logits(features)[0].softmax(1)
        assert torch.allclose(a, b, atol=5e-3)
    assert together.converged.all()


def test_a_weight_of_two_is_an_image_twice() -> None:
    features, labels = data()
    twice = torch.ones(1, N)
    twice[0, :30] = 2
    one = fit_logistic(features, labels, K, torch.tensor([0.1]), twice)
    again = torch.cat([features, features[:30]]), torch.cat([labels, labels[:30]])
    two = fit_logistic(*again, K, torch.tensor([0.1]))
    assert torch.allclose(one.logits(features).softmax(2), two.logits(features).softmax(2), atol=5e-3)


def test_separable_data_weak_penalties_and_more_features_than_images() -> None:
    features = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 2
    fitted = fit_logistic(features, labels, 2, torch.tensor([1e6, 1e-6]))
    assert fitted.weight.isfinite().all()
    assert (fitted.logits(features)[0].argmax(1) == labels).all()
    assert fitted.logits(features)[1].softmax(1).sub(0.5).abs().max() < 0.01


def test_a_class_without_an_image_and_constant_features() -> None:
    features, labels = data()
    features = torch.cat([features, torch.full((N, 2), 7.0)], 1)
    fitted = fit_logistic(features, labels, K + 1, torch.tensor([1.0]))
    assert fitted.weight.isfinite().all()
    assert (fitted.logits(features)[0].argmax(1) < K).all()


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_fewer_images_than_features_of_which_many_are_zero(seed: int) -> None:
    """As a network's features of a small folder are; their covariance in float32 has no eigenvectors for LAPACK."""
    dice = torch.Generator().manual_seed(seed)
    torch.randn(12, 1280, generator=dice)
    features = torch.randn(39, 1280, generator=dice).relu() * (torch.rand(1280, generator=dice) < 0.5) * 3
    labels = torch.arange(39) % 3
    fitted = fit_logistic(features, labels, 3, torch.tensor([1.0]))
    assert fitted.weight.shape == (1, 3, 1280)
    theirs = LogisticRegression(C=1.0, max_iter=20_000, tol=1e-10).fit(features.double().numpy(), labels.numpy())
    np.testing.assert_allclose(fitted.weight[0].numpy(), theirs.coef_, atol=2e-3)


def test_more_features_than_images_that_are_copies_on_many_scales() -> None:
    """The features of repeated images span fewer directions than there are images, some of them barely."""
    dice = torch.Generator().manual_seed(3)
    centres = torch.randn(K, 90, generator=dice)
    different = (centres.repeat(10, 1) + torch.randn(40, 90, generator=dice)) * torch.logspace(-6, 0, 90)
    features, labels = different.repeat(2, 1), (torch.arange(40) % K).repeat(2)
    fitted = fit_logistic(features, labels, K, torch.tensor([1.0]))
    theirs = LogisticRegression(C=1.0, max_iter=20_000, tol=1e-10).fit(features.double().numpy(), labels.numpy())
    np.testing.assert_allclose(fitted.weight[0].numpy(), theirs.coef_, atol=2e-3)


def test_images_that_are_all_the_same_have_the_classes_shares() -> None:
    fitted = fit_logistic(torch.ones(6, 9), torch.tensor([0, 0, 0, 0, 1, 1]), 2, torch.tensor([1.0]))
    np.testing.assert_allclose(fitted.logits(torch.ones(1, 9))[0, 0].softmax(0).numpy(), [4 / 6, 2 / 6], atol=1e-3)
    assert not fitted.weight.any()
