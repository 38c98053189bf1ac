"""Measures of unknown classes beside scikit-learn and hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from fgvc_cli.evaluation.certainty.openset import auroc, false_positives, measures, threshold_at


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize("seed", range(4))
def test_auroc_and_false_positives_are_scikit_learns(seed: int, digits: int) -> None:
    dice = np.random.RandomState(seed)
    known, unknown = np.round(dice.randn(137) + 1, digits), np.round(dice.randn(61), digits)
    truth, scores = np.r_[np.ones(137), np.zeros(61)], np.r_[known, unknown]
    assert auroc(known, unknown) == pytest.approx(roc_auc_score(truth, scores))
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert false_positives(known, unknown) == pytest.approx(false[np.argmax(true >= 0.95 - 1e-12)])


def test_by_hand() -> None:
    known, unknown = np.array([4.0, 3, 3, 1]), np.array([3.0, 0])
    assert auroc(known, unknown) == 6 / 8  # of eight pairs five are right and two equal
    assert threshold_at(known, 0.75) == 3
    assert threshold_at(known, 0.76) == 1
    found = measures(known, np.array([True, False, True, True]), unknown, 3.0)
    assert found["accepted"] == 0.75
    assert found["rejected"] == 0.5
    assert found["open_set_accuracy"] == pytest.approx((2 + 1) / 6)
