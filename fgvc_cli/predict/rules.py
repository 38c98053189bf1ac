"""When an answer is unsure, unknown or a taxon, and which classes a prediction set holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.outcome import Outcome
from fgvc_cli.predict.kept import Kept
from fgvc_cli.progress import Reporter

if TYPE_CHECKING:  # what reads them would delay predictions without rules
    from fgvc_cli.evaluation.certainty.detector import Detector


@dataclass(frozen=True)
class Known:
    """Whether an image seems to be of a class that the model knows."""

    known: bool  # the score is at least the threshold
    score: float
    threshold: float
    by: str  # the score's name


@dataclass(frozen=True)
class Taxon:
    """A taxon, or a class, and its probability: the sum over its classes."""

    name: str
    level: str
    probability: float  # 0..1


class Verdict(NamedTuple):
    """What the rules say of one image."""

    known: Known | None = None
    taxon: Taxon | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rollup:
    """Answers with the most specific taxon whose probability, the sum over its classes, is high enough."""

    tree: Taxonomy
    least: float  # the probability, 0..1

    def answers(self, seen: Outcome) -> list[Taxon | None]:
        """For each image; as `fgvc_cli.evaluation.taxonomy.Rollup` measures it."""
        tree, shares = self.tree, seen.probabilities
        found: list[Taxon | None] = [None] * len(shares)
        for level, (codes, names) in enumerate(zip(tree.codes, tree.names, strict=True)):  # the lowest likely one stays
            summed = np.zeros((len(names), len(shares)), dtype=shares.dtype)
            np.add.at(summed, codes, shares.T)
            for image, taxon in enumerate(summed.argmax(0).tolist()):
                share = float(summed[taxon, image])
                if share >= self.least:
                    found[image] = Taxon(names[taxon], tree.every_level[level], share)
        return found


@dataclass(frozen=True)
class Rules:
    """The rules of one request."""

    min_confidence: float = 0.0  # an answer less likely than this (0..1) is unsure
    limit: float | None = None  # quantile of prediction sets (`fgvc_cli.evaluation.certainty.conformal`)
    rollup: Rollup | None = None  # answers with the most specific taxon that is likely enough
    detector: Detector | None = None  # tells images of unknown classes

    def verdicts(self, seen: Outcome, classes: tuple[str, ...]) -> list[Verdict]:
        """What the rules say of each image of a batch."""
        return [
            Verdict(*columns)
            for columns in zip(self._known(seen), self._taxa(seen), self._sets(seen, classes), strict=True)
        ]

    def _known(self, seen: Outcome) -> list[Known | None]:
        if self.detector is None:
            return [None] * len(seen.pictures)
        import torch

        from fgvc_cli.evaluation.certainty.detector import Seen

        if seen.logits is None or seen.embedding is None:
            raise BadRequest("--unknown: this method gives no embedding")
        device = self.detector.distances.gallery.device
        said = Seen(*(torch.from_numpy(values).to(device) for values in (seen.logits, seen.embedding)))
        name = self.detector.default
        least = self.detector.thresholds[name]
        found = self.detector.scores(said)[name]
        return [Known(score >= least, score, least, name) for score in found.tolist()]

    def _taxa(self, seen: Outcome) -> list[Taxon | None]:
        return [None] * len(seen.pictures) if self.rollup is None else self.rollup.answers(seen)

    def _sets(self, seen: Outcome, classes: tuple[str, ...]) -> list[tuple[str, ...]]:
        """As `fgvc_cli.evaluation.certainty.conformal` measures them."""
        if self.limit is None:
            return [()] * len(seen.pictures)
        order = np.argsort(-seen.probabilities, axis=1, kind="stable")
        ordered = np.take_along_axis(seen.probabilities, order, 1)
        score = ordered.cumsum(1) - ordered / 2
        sizes = np.maximum((score <= self.limit).sum(1), 1).tolist()
        return [tuple(classes[one] for one in order[row, :size].tolist()) for row, size in enumerate(sizes)]


@dataclass(frozen=True)
class Wishes:
    """What the user asks of answers."""

    min_confidence: float = 0.0
    target_precision: float | None = (
        None  # answers are unsure below the confidence that the validation split has for it
    )
    set_coverage: float | None = None
    rollup: float | None = None  # probability that a taxon must have
    taxonomy: Path | None = None  # file of the tree, in the place of the run's
    unknown: bool = False


def rules_for(kept: Kept, wishes: Wishes, reporter: Reporter) -> Rules:
    """The rules of a model for what is asked.

    Raises:
        BadRequest: a threshold needs a validation split, or taxa a tree of the classes, and there is none.
    """
    sure, limit = _thresholds(kept, wishes, reporter)
    return Rules(sure, limit, _rollup(kept, wishes), kept.detector(reporter) if wishes.unknown else None)


def _thresholds(kept: Kept, wishes: Wishes, reporter: Reporter) -> tuple[float, float | None]:
    """The confidence from which an answer is sure, and the quantile of prediction sets."""
    if wishes.target_precision is None and wishes.set_coverage is None:
        return wishes.min_confidence, None
    said, sure = kept.validation(), wishes.min_confidence
    if wishes.target_precision is not None:
        threshold = said.threshold(wishes.target_precision)
        reporter.line(
            f"answers below a probability of {threshold:.4f} are unsure: from there on, {wishes.target_precision:.1%} "
            f"and more of the answers on {len(said.right)} {said.images} were right"
        )
        sure = max(sure, threshold)
    return sure, None if wishes.set_coverage is None else said.limit(wishes.set_coverage)


def _rollup(kept: Kept, wishes: Wishes) -> Rollup | None:
    if wishes.rollup is None:
        return None
    tree = kept.tree(wishes.taxonomy)
    if tree is None:
        raise BadRequest("--rollup needs a tree of the classes: name it with --taxonomy FILE")
    return Rollup(tree, wishes.rollup)
