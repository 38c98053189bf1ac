from __future__ import annotations

import pytest
import torch

from fgvc_cli.engine.metrics import BranchMetrics


def measured(logits: torch.Tensor, labels: torch.Tensor, sizes: list[int]) -> dict[str, float]:
    metrics = BranchMetrics(logits.shape[1])
    for part, target in zip(logits.split(sizes), labels.split(sizes), strict=True):
        metrics.update({"final": part}, target)
    return metrics.compute()["final"]


def test_by_hand_with_uneven_batches() -> None:
    predicted = torch.tensor([0, 0, 1, 1, 2])
    labels = torch.tensor([0, 0, 1, 2, 2])
    logits = torch.nn.functional.one_hot(predicted, 3).float()
    result = measured(logits, labels, [2, 3])
    assert result["top1"] == pytest.approx(4 / 5)
    assert result["mean_per_class"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert result["top5"] == pytest.approx(1)  # top-min(5, K): all three classes


def test_absent_classes_do_not_count_even_when_predicted() -> None:
    logits = torch.nn.functional.one_hot(torch.tensor([3, 0, 0, 1]), 4).float()
    labels = torch.tensor([0, 0, 0, 1])
    assert measured(logits, labels, [4])["mean_per_class"] == pytest.approx((2 / 3 + 1) / 2)


def test_top5_against_a_loop() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(103, 20), torch.randint(0, 20, (103,))
    hits = sum(int(label) in row.topk(5).indices.tolist() for row, label in zip(logits, labels, strict=True))
    assert measured(logits, labels, [64, 39])["top5"] == pytest.approx(hits / 103)


def test_branches_are_measured_apart() -> None:
    metrics = BranchMetrics(2)
    right, wrong = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    metrics.update({"final": right, "other": wrong}, torch.tensor([0]))
    result = metrics.compute()
    assert (result["final"]["top1"], result["other"]["top1"]) == (1, 0)
