"""Measures by a tree of the classes: accuracy at every level, how severe mistakes are, and answers by the taxon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.data.taxonomy_file import read_taxonomy
from fgvc_cli.files import expanded
from fgvc_cli.machine.distributed import gathered, total
from fgvc_cli.runs.folder import RunFolder

ROLLUP = 0.9  # probability that a taxon must have, unless another is asked for


class Rollup:
    """Answers with the most specific taxon whose probability, the sum over its classes, is high enough.

    Args:
        tree: of the K classes, L levels above them.
        least: the probability, 0..1.
        device: where probabilities are.
    """

    def __init__(self, tree: Taxonomy, least: float, device: torch.device) -> None:
        self.tree, self.least = tree, least
        self.codes = torch.from_numpy(tree.codes).to(device)  # (L + 1, K)

    def best(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """For (B, K) the likeliest taxon of each level and its probability: (L + 1, B) each."""
        taxa, shares = [], []
        for level, names in enumerate(self.tree.names):
            summed = probabilities.new_zeros(len(probabilities), len(names))
            share, taxon = summed.index_add_(1, self.codes[level], probabilities).max(1)
            taxa.append(taxon)
            shares.append(share)
        return torch.stack(taxa), torch.stack(shares)

    def answers(self, shares: Tensor) -> Tensor:
        """(B,) the level of each answer, the most specific that is likely enough; -1 if none is."""
        levels = torch.arange(len(shares), device=shares.device)[:, None]
        return torch.where(shares >= self.least, levels, -1).amax(0)


class TaxonomyMeasures:
    """What is measured by a tree in one pass over a split.

    Args:
        tree: of the K classes.
        least: of `Rollup`.
        device: where the counters are.
    """

    def __init__(self, tree: Taxonomy, least: float, device: torch.device) -> None:
        self.tree = tree
        self.rollup = Rollup(tree, least, device)
        height = len(tree.every_level)
        self.right = torch.zeros(height, dtype=torch.int64, device=device)  # images, at each level
        self.mistakes = torch.zeros(2, dtype=torch.int64, device=device)  # number, sum of their heights
        self.answered = torch.zeros(2, height, dtype=torch.int64, device=device)  # answers at each level, right ones
        self.promised = torch.zeros((), dtype=torch.float64, device=device)  # sum of the answers' probabilities
        self.images = 0

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Count a batch: (B, K) calibrated probabilities, (B,) labels. No value is read from the device."""
        codes, height = self.rollup.codes, len(self.right)
        truth = codes[:, labels]  # (L + 1, B)
        same = codes[:, probabilities.argmax(1)] == truth
        self.right += same.sum(1)
        wrong = ~same[-1]
        self.mistakes += torch.stack([wrong.sum(), ((height - same.sum(0)) * wrong).sum()])
        taxa, shares = self.rollup.best(probabilities)
        level = self.rollup.answers(shares)
        given, place = level >= 0, level.clamp_min(0)[None]
        good = (taxa.gather(0, place) == truth.gather(0, place))[0] & given
        self.answered += torch.stack(
            [torch.zeros_like(self.right).index_add_(0, place[0], one.long()) for one in (given, good)]
        )
        self.promised += (shares.gather(0, place)[0] * given).double().sum()
        self.images += len(labels)

    def compute(self) -> dict[str, Any]:
        """All processes must call this.

        Returns:
            accuracy: level → share of images whose predicted class is in the true taxon; the last level is the class.
            severity: mean height of the lowest common ancestor of the true and the predicted class over wrong
                predictions, 1 to `height` (Bertinetto et al., Making Better Mistakes,
                https://arxiv.org/abs/1912.09393); None without mistakes.
            rollup: `asked`, `coverage` (images with an answer), `precision` (of the answers), `promised` (their mean
                probability), `specificity` (0: the top, 1: the class; mean over the answers), `levels`: share of the
                images that are answered at each.
        """
        images = max(sum(gathered(self.images)), 1)
        right, mistakes, answered = (total(value).tolist() for value in (self.right, self.mistakes, self.answered))
        names, height = self.tree.every_level, len(right)
        given, good = (sum(row) for row in answered)
        depth = sum(count * (level + 1) / height for level, count in enumerate(answered[0]))
        return {
            "height": height,
            "accuracy": {name: count / images for name, count in zip(names, right, strict=True)},
            "severity": mistakes[1] / mistakes[0] if mistakes[0] else None,
            "rollup": {
                "asked": self.rollup.least,
                "coverage": given / images,
                "precision": good / given if given else 1.0,
                "promised": float(total(self.promised)) / given if given else 1.0,
                "specificity": depth / given if given else 0.0,
                "levels": {name: count / images for name, count in zip(names, answered[0], strict=True)},
            },
        }


def taxonomy_of(
    run: RunFolder | None, classes: tuple[str, ...], file: Path | None, known: Taxonomy | None = None
) -> Taxonomy | None:
    """The tree of a model's classes: that of `file`, else the run's, else `known`, the dataset's, else None."""
    if file is not None:
        return read_taxonomy(expanded(file), classes)
    kept = None if run is None else run.taxonomy()
    tree = Taxonomy.of_record(kept) if kept is not None else known
    return None if tree is None else tree.for_classes(classes)
