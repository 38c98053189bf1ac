from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from fgvc_cli.evaluation.counting.branches import BranchMetrics, Predictions
from fgvc_cli.evaluation.metrics import calibration_error


def counted(logits: torch.Tensor, labels: torch.Tensor, sizes: list[int]) -> BranchMetrics:
    metrics = BranchMetrics(logits.shape[1])
    for part, target in zip(logits.split(sizes), labels.split(sizes), strict=True):
        metrics.update({"final": part}, target)
    return metrics


def measured(logits: torch.Tensor, labels: torch.Tensor, sizes: list[int]) -> dict[str, float]:
    return counted(logits, labels, sizes).compute()["final"]


def one_hot(predicted: list[int], classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()


def test_by_hand_with_uneven_batches() -> None:
    labels = torch.tensor([0, 0, 1, 2, 2])
    result = measured(one_hot([0, 0, 1, 1, 2], 3), labels, [2, 3])
    assert list(result) == ["top1", "top5", "mean_per_class", "macro_f1"]
    assert result["top1"] == pytest.approx(4 / 5)
    assert result["mean_per_class"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert result["macro_f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert result["top5"] == 1  # top-min(5, K): all three classes


def test_absent_classes_do_not_count_even_when_predicted() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    result = measured(one_hot([3, 0, 0, 1], 4), labels, [4])
    assert result["mean_per_class"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["macro_f1"] == pytest.approx((4 / 5 + 1) / 2)  # class 3 has no F1 of its own, it lowers that of 0


def test_a_class_that_is_never_predicted_counts_as_zero() -> None:
    counts = counted(one_hot([0, 0, 0], 3), torch.tensor([0, 0, 1]), [3]).counts()
    assert counts.f1[:2].tolist() == pytest.approx([4 / 5, 0])
    assert counts.recall[:2].tolist() == [1, 0]
    assert np.isnan(counts.precision[1])
    assert np.isnan([counts.f1[2], counts.recall[2]]).all()
    assert counts.measures()["macro_f1"] == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("classes", "present", "sizes"),
    [(3, 3, [64, 39]), (20, 20, [64, 39]), (20, 7, [50, 50, 3]), (2, 2, [102, 1]), (100, 90, [103])],
)
def test_against_scikit_learn(classes, present, sizes) -> None:
    torch.manual_seed(classes)
    logits, labels = torch.randn(103, classes), torch.randint(0, present, (103,))
    result, predicted = measured(logits, labels, sizes), logits.argmax(1)
    there = np.unique(labels)
    assert result["top1"] == pytest.approx(accuracy_score(labels, predicted))
    assert result["macro_f1"] == pytest.approx(f1_score(labels, predicted, labels=there, average="macro"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that classes without images are predicted
        assert result["mean_per_class"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    top = min(5, classes)
    if top == classes:
        assert result["top5"] == 1
    else:
        expected = top_k_accuracy_score(labels, logits, k=top, labels=np.arange(classes))
        assert result["top5"] == pytest.approx(expected)


def test_the_table_of_classes_against_scikit_learn() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(500, 6) + 2 * torch.eye(6)[torch.arange(500) % 6], torch.arange(500) % 6
    counts = counted(logits, labels, [300, 199, 1]).counts()
    expected = precision_recall_fscore_support(labels, logits.argmax(1))
    for ours, theirs in zip((counts.precision, counts.recall, counts.f1, counts.support), expected, strict=True):
        np.testing.assert_allclose(ours, theirs)


@pytest.mark.parametrize("sizes", [[7] * 14 + [5], [103], [1] * 103])
def test_the_batches_make_no_difference(sizes) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(103, 9), torch.randint(0, 9, (103,))
    assert measured(logits, labels, sizes) == measured(logits, labels, [64, 39])


def test_branches_are_measured_apart() -> None:
    metrics = BranchMetrics(2)
    right, wrong = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    metrics.update({"final": right, "other": wrong}, torch.tensor([0]))
    result = metrics.compute()
    assert (result["final"]["top1"], result["other"]["top1"]) == (1, 0)


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.96, 0.55, 0.56, 0.5])
    right = np.array([True, False, True, True, False])
    # bins of 1/15: (14/15, 1] holds two, (8/15, 9/15] two, (7/15, 8/15] one
    expected = (abs(1 - 0.95 - 0.96) + abs(2 - 0.55 - 0.56) + 0.5) / 5
    assert calibration_error(confidence, right) == pytest.approx(expected)


def test_certainty_belongs_to_the_last_bin_and_an_edge_to_the_bin_below() -> None:
    assert calibration_error(np.array([1.0, 0.98]), np.array([True, False])) == pytest.approx(0.98 / 2)
    assert calibration_error(np.array([0.5, 0.4]), np.array([True, False]), bins=2) == pytest.approx((0.5 - 0.4) / 2)


def test_a_calibrated_model_has_no_calibration_error() -> None:
    confidence = np.repeat([0.25, 0.5, 0.75, 1.0], 400)
    right = np.concatenate([np.arange(400) < 400 * share for share in (0.25, 0.5, 0.75, 1)])
    assert calibration_error(confidence, right) == pytest.approx(0, abs=1e-12)


def test_predictions_are_kept_over_uneven_batches() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(11, 4), torch.randint(0, 4, (11,))
    kept = Predictions(temperature=2.0)
    for part, target, index in zip(*(x.split([6, 5]) for x in (logits, labels, torch.arange(11))), strict=True):
        kept.update(part, target, index)
    predicted = kept.read()
    assert predicted.labels.tolist() == labels.tolist()
    assert predicted.classes.tolist() == logits.argmax(1).tolist()
    np.testing.assert_allclose(predicted.confidence, logits.softmax(1).amax(1), rtol=1e-6)
    np.testing.assert_allclose(predicted.calibrated, (logits / 2).softmax(1).amax(1), rtol=1e-6)
    assert set(predicted.calibration(2.0)) == {"ece", "temperature", "ece_calibrated"}
    assert set(predicted.calibration(1.0)) == {"ece"}


def test_predictions_find_room_for_any_number() -> None:
    kept, labels = Predictions(), torch.arange(10_001) % 7
    logits = torch.nn.functional.one_hot((labels + 1) % 7, 7).float()
    for part, target, index in zip(*(x.split(3000) for x in (logits, labels, torch.arange(10_001))), strict=True):
        kept.update(part, target, index)
    predicted = kept.read()
    assert predicted.labels.tolist() == labels.tolist()
    assert predicted.classes.tolist() == ((labels + 1) % 7).tolist()


def test_a_single_image() -> None:
    kept = Predictions()
    kept.update(torch.tensor([[0.0, 1.0]]), torch.tensor([1]), torch.tensor([0]))
    assert kept.read().classes.tolist() == [1]
    assert measured(torch.tensor([[0.0, 1.0]]), torch.tensor([1]), [1])["macro_f1"] == 1


_TEN_THOUSAND = """
import resource, sys
from pathlib import Path
import torch
from fgvc_cli.evaluation.confusion import Confusion, class_rows, write_classes
from fgvc_cli.evaluation.confusion_picture import draw_confusion
from fgvc_cli.evaluation.counting.branches import BranchMetrics, Predictions
torch.set_num_threads(1)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
before, folder, names = peak(), Path(sys.argv[1]), tuple(f"class {i}" for i in range(10_000))
metrics, kept = BranchMetrics(10_000), Predictions(1.5)
for _ in range(50):
    logits, labels = torch.randn(64, 10_000), torch.randint(0, 10_000, (64,))
    metrics.update({"final": logits, "a": logits, "b": logits, "c": logits}, labels)
    kept.update(logits, labels, labels)
metrics.compute()
confusion = Confusion.of(names, kept.read())
confusion.write(folder / "confusion.csv")
write_classes(folder / "classes.csv", class_rows(names, metrics.counts()))
draw_confusion(folder / "confusion.png", confusion)
print(peak() - before)
"""


def test_ten_thousand_classes_take_little_memory(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TEN_THOUSAND, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 120  # MiB beyond the libraries; about 30 measured
    assert len((tmp_path / "classes.csv").read_text().splitlines()) == 10_001
    assert len((tmp_path / "confusion.csv").read_text().splitlines()) <= 3201
