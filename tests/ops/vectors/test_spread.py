"""k-centre beside loops."""

from __future__ import annotations

import torch

from fgvc_cli.ops.vectors.spread import k_centres


def test_it_is_what_loops_give() -> None:
    dice = torch.Generator().manual_seed(0)
    vectors, weights = torch.randn(30, 4, generator=dice), torch.rand(30, generator=dice)
    chosen = [int(weights.argmax())]
    while len(chosen) < 9:
        best = max(
            (row for row in range(30) if row not in chosen),
            key=lambda row: float(weights[row]) * min(float((vectors[row] - vectors[one]).norm()) for one in chosen),
        )
        chosen.append(best)
    assert k_centres(vectors, weights, 9).tolist() == chosen


def test_all_equal_and_more_than_there_are() -> None:
    assert sorted(k_centres(torch.zeros(3, 2), torch.zeros(3), 7).tolist()) == [0, 1, 2]
