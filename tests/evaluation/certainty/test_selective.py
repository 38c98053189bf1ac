"""The risk-coverage curve beside loops, all orders of ties, and hand-computed cases."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest
from PIL import Image

from fgvc_cli.evaluation.certainty.selective import RiskCoverage, answered

CONFIDENCE = np.array([0.9, 0.5, 0.9, 0.7, 0.5, 0.5])
RIGHT = np.array([True, False, True, False, True, True])


def test_thresholds_of_a_hand_computed_case() -> None:
    curve = RiskCoverage.of(CONFIDENCE, RIGHT)
    assert curve.threshold.tolist() == [0.9, 0.7, 0.5]
    assert curve.answered.tolist() == [2, 3, 6]
    assert curve.accuracy.tolist() == [1, pytest.approx(2 / 3), pytest.approx(4 / 6)]
    assert curve.accuracy_at(0.3) == 1
    assert curve.accuracy_at(0.34) == pytest.approx(2 / 3)
    assert curve.accuracy_at(0.5) == curve.accuracy_at(1) == pytest.approx(2 / 3)


def test_the_area_is_the_mean_over_all_orders_of_ties() -> None:
    areas = []
    for order in itertools.permutations(range(6)):
        if (np.diff(CONFIDENCE[list(order)]) <= 0).all():
            wrong = np.cumsum(~RIGHT[list(order)])
            areas.append(np.mean(wrong / np.arange(1, 7)))
    assert RiskCoverage.of(CONFIDENCE, RIGHT).area() == pytest.approx(np.mean(areas))


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_are_exact_with_ties_and_rise_with_the_precision(seed: int) -> None:
    dice = np.random.RandomState(seed)
    confidence = np.round(dice.rand(200), 1)
    right = dice.rand(200) < confidence
    curve = RiskCoverage.of(confidence, right)
    before = -1.0
    for precision in np.linspace(0, 1, 41):
        possible = [one for one in np.unique(confidence) if right[confidence >= one].mean() >= precision - 1e-12]
        found = curve.threshold_for(precision)
        assert found == (min(possible) if possible else None)
        if found is not None:
            assert answered(confidence, right, found)["precision"] >= precision - 1e-12
            assert found >= before
            before = found


def test_one_image_all_right_and_all_wrong() -> None:
    assert RiskCoverage.of(np.array([0.4]), np.array([True])).measures()["area"] == 0
    wrong = RiskCoverage.of(np.array([0.4, 0.4]), np.array([False, False]))
    assert wrong.area() == 1
    assert wrong.threshold_for(0.5) is None
    assert wrong.threshold_for(0) == 0.4
    assert answered(np.array([0.4]), np.array([True]), 0.5) == {"coverage": 0.0, "precision": 1.0}


def test_files(tmp_path) -> None:
    curve = RiskCoverage.of(CONFIDENCE, RIGHT)
    curve.write(tmp_path / "curve.csv")
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert [float(row["threshold"]) for row in rows] == [0.9, 0.7, 0.5]
    curve.draw(tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert min(picture.size) > 200
