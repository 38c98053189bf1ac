"""When an answer is unsure, unknown or a taxon, and which classes a prediction set holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.look import Model, Seen
from fgvc_cli.progress import Reporter

if TYPE_CHECKING:  # what reads them would delay predictions without rules
    from fgvc_cli.evaluation.certainty.detector import Detector
    from fgvc_cli.evaluation.taxonomy import Rollup


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
class Rules:
    """The rules of one request."""

    min_confidence: float = 0.0  # an answer less likely than this (0..1) is unsure
    limit: float | None = None  # quantile of prediction sets (`fgvc_cli.evaluation.certainty.conformal`)
    rollup: Rollup | None = None  # answers with the most specific taxon that is likely enough
    detector: Detector | None = None  # tells images of unknown classes

    def verdicts(self, seen: Seen, classes: tuple[str, ...]) -> list[Verdict]:
        """What the rules say of each image of a batch."""
        return [
            Verdict(*columns)
            for columns in zip(self._known(seen), self._taxa(seen), self._sets(seen, classes), strict=True)
        ]

    def _known(self, seen: Seen) -> list[Known | None]:
        if self.detector is None:
            return [None] * len(seen.pictures)
        from fgvc_cli.evaluation.certainty.detector import Seen as Answers

        evidence = seen.output.evidence
        if evidence is None or evidence.embedding is None:
            raise BadRequest("--unknown: this method gives no embedding")
        name = self.detector.default
        least = self.detector.thresholds[name]
        found = self.detector.scores(Answers(seen.output.logits.float(), evidence.embedding.float()))[name]
        return [Known(score >= least, score, least, name) for score in found.tolist()]

    def _taxa(self, seen: Seen) -> list[Taxon | None]:
        if self.rollup is None:
            return [None] * len(seen.pictures)
        taxa, shares = self.rollup.best(seen.probabilities)
        levels = self.rollup.answers(shares).tolist()
        tree = self.rollup.tree
        return [
            None
            if level < 0
            else Taxon(tree.names[level][int(taxa[level, row])], tree.every_level[level], float(shares[level, row]))
            for row, level in enumerate(levels)
        ]

    def _sets(self, seen: Seen, classes: tuple[str, ...]) -> list[tuple[str, ...]]:
        if self.limit is None:
            return [()] * len(seen.pictures)
        from fgvc_cli.evaluation.certainty.conformal import scores, set_sizes

        order, score = scores(seen.probabilities)
        sizes = set_sizes(score, self.limit).tolist()
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


def rules_for(model: Model, wishes: Wishes, reporter: Reporter) -> Rules:
    """The rules of a model for what is asked.

    Raises:
        BadRequest: a threshold needs a validation split, or taxa a tree of the classes, and there is none.
    """
    sure, limit = _thresholds(model, wishes, reporter)
    return Rules(sure, limit, _rollup(model, wishes), _detector(model, reporter) if wishes.unknown else None)


def _thresholds(model: Model, wishes: Wishes, reporter: Reporter) -> tuple[float, float | None]:
    """The confidence from which an answer is sure, and the quantile of prediction sets."""
    if wishes.target_precision is None and wishes.set_coverage is None:
        return wishes.min_confidence, None
    from fgvc_cli.evaluation.certainty.validation import open_validation

    trained, sure = model.trained, wishes.min_confidence
    kept = open_validation(model.file, model.run, trained.epoch, trained.temperature)
    if wishes.target_precision is not None:
        threshold = kept.threshold(wishes.target_precision)
        reporter.line(
            f"answers below a probability of {threshold:.4f} are unsure: from there on, {wishes.target_precision:.1%} "
            f"and more of the answers on {len(kept.right)} validation images were right"
        )
        sure = max(sure, threshold)
    return sure, None if wishes.set_coverage is None else kept.limit(wishes.set_coverage)


def _rollup(model: Model, wishes: Wishes) -> Rollup | None:
    if wishes.rollup is None:
        return None
    from fgvc_cli.evaluation.taxonomy import Rollup, taxonomy_of

    tree = taxonomy_of(model.run, model.classes, wishes.taxonomy)
    if tree is None:
        raise BadRequest("--rollup needs a tree of the classes: name it with --taxonomy FILE")
    return Rollup(tree, wishes.rollup, model.device)


def _detector(model: Model, reporter: Reporter) -> Detector:
    from fgvc_cli.evaluation.certainty.unknown import open_detector

    return open_detector(model, reporter)
