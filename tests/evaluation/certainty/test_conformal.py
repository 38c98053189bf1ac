"""Prediction sets beside loops over sorted classes, and their coverage on drawn labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fgvc_cli.evaluation.certainty.conformal import SetMeasures, scores, set_sizes, true_scores
from fgvc_cli.evaluation.certainty.validation import quantile


def drawn(images: int, seed: int, classes: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    dice = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(images, classes, generator=dice)).softmax(1)
    return probabilities, torch.multinomial(probabilities, 1, generator=dice)[:, 0]


def test_scores_and_sets_are_what_loops_give() -> None:
    probabilities, labels = drawn(50, 0, 6)
    order, score = scores(probabilities)
    for image in range(50):
        ranked = sorted(range(6), key=lambda one: -float(probabilities[image, one]))
        likelier = 0.0
        expected = {}
        for one in ranked:
            expected[one] = likelier + float(probabilities[image, one]) / 2
            likelier += float(probabilities[image, one])
        assert order[image].tolist() == ranked
        assert score[image].tolist() == pytest.approx([expected[one] for one in ranked], abs=1e-6)
        assert float(true_scores(probabilities, labels)[image]) == pytest.approx(expected[int(labels[image])], abs=1e-6)
        inside = [one for one in ranked if expected[one] <= 0.6] or ranked[:1]
        assert int(set_sizes(score, 0.6)[image]) == len(inside)


def test_the_quantile_by_hand() -> None:
    kept = np.array([0.3, 0.1, 0.2, 0.4], dtype=np.float32)
    assert quantile(kept, 0.8) == pytest.approx(0.4)  # ceil(5 · 0.8) = 4
    assert quantile(kept, 0.6) == pytest.approx(0.3)
    assert quantile(kept, 0.81) == math.inf


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("asked", [0.9, 0.95])
def test_coverage_is_within_two_points_on_five_random_splits(seed: int, asked: float) -> None:
    probabilities, labels = drawn(6000, seed)
    sharp = (probabilities.log() * 1.3).softmax(1)  # overconfident: coverage must hold for a wrong model too
    limit = quantile(true_scores(sharp[:3000], labels[:3000]).numpy(), asked)
    measures = SetMeasures(asked, limit, torch.device("cpu"))
    for first in range(3000, 6000, 500):
        measures.update(sharp[first : first + 500], labels[first : first + 500])
    found = measures.compute()
    assert found["coverage"] == pytest.approx(asked, abs=0.02)
    assert 1 <= found["mean_size"] < 20
    assert 0 < found["single"] < 1
