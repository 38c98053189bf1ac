"""Suspicious labels: wrong ones come first, and scores are what loops in float64 give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fgvc_cli.evaluation.labels.ranking import WAYS, Judged, estimate, ranked


def drawn(wrong: int = 6) -> tuple[Judged, list[int]]:
    """60 images around 4 class means, some with another's label."""
    dice = torch.Generator().manual_seed(0)
    means = 4 * torch.randn(4, 5, generator=dice)
    truth = torch.arange(60) % 4
    embeddings = means[truth] + torch.randn(60, 5, generator=dice)
    probabilities = (-(torch.cdist(embeddings, means)) * 2).softmax(1)
    labels = truth.clone()
    flipped = torch.randperm(60, generator=dice)[:wrong]
    labels[flipped] = (truth[flipped] + 1) % 4
    return Judged(labels, probabilities, embeddings), sorted(flipped.tolist())


@pytest.mark.parametrize("by", WAYS)
def test_wrong_labels_come_first_and_get_their_class_back(by: str) -> None:
    judged, flipped = drawn()
    found = ranked(judged, {}, by)
    assert sorted(found.rows[:6].tolist()) == flipped
    assert found.suggested[:6].tolist() == [(int(judged.labels[row]) - 1) % 4 for row in found.rows[:6]]
    assert (np.diff(found.score) <= 1e-12).all()
    assert found.score.mean() == pytest.approx(0, abs=1e-9)
    assert found.score.std() == pytest.approx(1)
    assert estimate(judged) == 6


def test_scores_are_what_loops_give() -> None:
    judged, _ = drawn()
    unit = torch.nn.functional.normalize(judged.embeddings.double(), dim=1)
    odds, margins = [], []
    for row in range(60):
        label = int(judged.labels[row])
        shares = judged.probabilities[row].double().tolist()
        odds.append(math.log(shares[label]) - max(math.log(p) for one, p in enumerate(shares) if one != label))
        near = sorted((-float(unit[row] @ unit[other]), other) for other in range(60) if other != row)[:10]
        weights = [math.exp((-cosine + near[0][0]) / 0.07) for cosine, _ in near]
        votes = [0.0] * 4
        for weight, (_, other) in zip(weights, near, strict=True):
            votes[int(judged.labels[other])] += weight / sum(weights)
        margins.append(votes[label] - max(vote for one, vote in enumerate(votes) if one != label))
    both = sum((np.array(part) - np.mean(part)) / np.std(part) for part in (odds, margins))
    expected = -(both - both.mean()) / both.std()
    found = ranked(judged, {})
    assert found.score == pytest.approx(expected[found.rows], abs=1e-4)


def test_copies_with_another_label_come_first() -> None:
    judged, flipped = drawn()
    sure = next(row for row in range(60) if row not in flipped)
    found = ranked(judged, {sure: 7})
    assert found.rows[0] == sure
    assert found.copies[:2].tolist() == [7, -1]
    assert found.score[0] < found.score[1]


def test_two_images() -> None:
    judged = Judged(torch.tensor([0, 1]), torch.tensor([[1.0, 0], [1, 0]]), torch.eye(2))
    assert ranked(judged, {}).rows[0] == 1
