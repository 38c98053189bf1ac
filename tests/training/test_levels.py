"""Losses of levels beside loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.errors import BadRequest
from fgvc_cli.training.levels import LevelLosses, level_losses

TREE = Taxonomy(("family", "big genus"), ("a", "b", "c", "d"), (("X", "G"), ("X", "G"), ("X", "H"), ("Y", "I")))


@pytest.mark.parametrize("soft", [False, True])
def test_it_is_what_loops_give(soft: bool) -> None:
    dice = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 4, generator=dice)
    hard = torch.tensor([0, 1, 2, 3, 0, 2])
    labels = torch.randn(6, 4, generator=dice).softmax(1) if soft else hard
    truth = labels if soft else torch.nn.functional.one_hot(hard, 4)
    found = LevelLosses(TREE, (0.5, 2.0))(logits, labels)
    assert set(found) == {"level_family", "level_big_genus"}
    for level, (name, weight) in enumerate({"level_family": 0.5, "level_big_genus": 2.0}.items()):
        total = 0.0
        for row, wanted in zip(logits.double().softmax(1), truth.double(), strict=True):
            for taxon in range(len(TREE.names[level])):
                inside = [one for one in range(4) if TREE.codes[level][one] == taxon]
                total -= sum(float(wanted[one]) for one in inside) * math.log(sum(float(row[one]) for one in inside))
        assert float(found[name]) == pytest.approx(weight * total / 6, rel=1e-5)


def test_it_is_finite_with_its_gradient_where_probabilities_are_zero() -> None:
    logits = torch.tensor([[200.0, -200, 0, 0]], requires_grad=True)
    sum(LevelLosses(TREE, (1.0, 1.0))(logits, torch.tensor([3])).values()).backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_what_is_not_asked_for_and_what_does_not_fit() -> None:
    here = torch.device("cpu")
    assert level_losses(None, (), here) is None
    assert level_losses(TREE, (0.0, 0.0), here) is None
    only = level_losses(TREE, (0.0, 1.0), here)
    assert only is not None
    assert set(only(torch.zeros(1, 4), torch.tensor([0]))) == {"level_big_genus"}
    with pytest.raises(BadRequest, match="no tree"):
        level_losses(None, (1.0,), here)
    with pytest.raises(BadRequest, match="has 1 weights, but above the classes there are 2 levels: family, big genus"):
        level_losses(TREE, (1.0,), here)
