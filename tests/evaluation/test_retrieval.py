"""Retrieval measures beside loops over a sorted table in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fgvc_cli.evaluation import retrieval as module
from fgvc_cli.evaluation.retrieval import retrieval


def brute_force(embeddings: Tensor, labels: list[int]) -> dict[str, float]:
    unit = torch.nn.functional.normalize(embeddings.double(), dim=1)
    recalls: dict[int, list[bool]] = {1: [], 5: [], 10: []}
    precisions = []
    for query, label in enumerate(labels):
        others = [other for other in range(len(labels)) if other != query]
        others.sort(key=lambda other: -float(unit[query] @ unit[other]))
        right = [labels[other] == label for other in others]
        if not any(right):
            continue
        for rank, found in recalls.items():
            found.append(any(right[:rank]))
        at = [sum(right[: place + 1]) / (place + 1) for place in range(len(right)) if right[place]]
        precisions.append(sum(at) / len(at))
    shares = {f"recall_{rank}": sum(found) / len(found) for rank, found in recalls.items()}
    return {"queries": len(precisions), **shares, "map": sum(precisions) / len(precisions)}


@pytest.mark.parametrize("block", [1, 100, 1 << 24])
@pytest.mark.parametrize(
    "labels", [[0, 0, 1, 1, 2], [number % 7 for number in range(60)], [0] * 9 + [1, 2, 2] + [3] * 20]
)
def test_it_is_what_loops_give(monkeypatch, block, labels) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    dice = torch.Generator().manual_seed(len(labels))
    embeddings = torch.randn(len(labels), 6, generator=dice) + torch.tensor(labels)[:, None]
    found = retrieval(embeddings, torch.tensor(labels))
    assert found == pytest.approx(brute_force(embeddings, labels), abs=1e-6)


def test_perfect_and_nothing_to_find() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1])
    perfect = retrieval(torch.nn.functional.one_hot(labels).float(), labels)
    assert perfect == {"queries": 5, "recall_1": 1, "recall_5": 1, "recall_10": 1, "map": 1}
    alone = retrieval(torch.eye(3), torch.arange(3))
    assert alone == {"queries": 0, "recall_1": 0, "recall_5": 0, "recall_10": 0, "map": 0}
