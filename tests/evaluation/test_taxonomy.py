"""Measures by a tree beside loops over images, levels and taxa."""

from __future__ import annotations

import pytest
import torch

from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.evaluation.taxonomy import TaxonomyMeasures

TREE = Taxonomy(
    ("family", "genus"),
    ("a", "b", "c", "d", "e"),
    (("X", "G"), ("X", "G"), ("X", "H"), ("Y", "I"), ("Y",)),
)


def test_it_is_what_loops_give() -> None:
    dice = torch.Generator().manual_seed(0)
    probabilities = (2 * torch.randn(300, 5, generator=dice)).softmax(1)
    labels = torch.multinomial(probabilities, 1, generator=dice)[:, 0]
    measures = TaxonomyMeasures(TREE, 0.8, torch.device("cpu"))
    for first in range(0, 300, 70):
        measures.update(probabilities[first : first + 70], labels[first : first + 70])
    found = measures.compute()

    whole = [(*path, name) for path, name in zip(TREE.paths, TREE.classes, strict=True)]
    whole[4] = ("Y", "e", "e")  # at the level that it lacks, a class is a taxon of its own
    right, heights, given, good, promised, depth = [0, 0, 0], [], [0, 0, 0], 0, 0.0, 0.0
    for row, label in zip(probabilities.double(), labels.tolist(), strict=True):
        guess = int(row.argmax())
        same = [whole[guess][: level + 1] == whole[label][: level + 1] for level in range(3)]
        right = [count + one for count, one in zip(right, same, strict=True)]
        if guess != label:
            heights.append(3 - sum(same))
        for level in (2, 1, 0):
            sums: dict[tuple[str, ...], float] = {}
            for one, path in enumerate(whole):
                sums[path[: level + 1]] = sums.get(path[: level + 1], 0.0) + float(row[one])
            best = max(sums, key=lambda path: sums[path])
            if sums[best] >= 0.8:
                given[level] += 1
                good += best == whole[label][: level + 1]
                promised += sums[best]
                depth += (level + 1) / 3
                break
    assert list(found["accuracy"].values()) == pytest.approx([count / 300 for count in right])
    assert found["severity"] == pytest.approx(sum(heights) / len(heights))
    rolled = found["rollup"]
    assert rolled["coverage"] == pytest.approx(sum(given) / 300)
    assert rolled["precision"] == pytest.approx(good / sum(given))
    assert rolled["promised"] == pytest.approx(promised / sum(given), abs=1e-5)
    assert rolled["specificity"] == pytest.approx(depth / sum(given))
    assert list(rolled["levels"].values()) == pytest.approx([count / 300 for count in given])


def test_no_mistake_and_no_answer() -> None:
    measures = TaxonomyMeasures(TREE, 1.0, torch.device("cpu"))
    measures.update(torch.full((2, 5), 0.2), torch.tensor([0, 0]))
    found = measures.compute()
    assert found["severity"] is None
    assert (found["rollup"]["coverage"], found["rollup"]["precision"], found["rollup"]["specificity"]) == (0, 1, 0)
