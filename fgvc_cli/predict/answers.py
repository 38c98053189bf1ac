"""A trained model's predictions for images, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fgvc_cli.data.taxonomy import CLASS
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference import outcome
from fgvc_cli.inference.outcome import Outcome
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.predict.rules import Known, Rules, Taxon

if TYPE_CHECKING:
    from fgvc_cli.inference.features.gallery import Gallery, Neighbour

UNSURE = "unsure"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Guess:
    """A class and its probability."""

    name: str
    probability: float  # 0..1


@dataclass(frozen=True)
class FoundBox:
    """A box in the original image's pixels, half-open, and the method's score of it."""

    xyxy: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True)
class Answer:
    """The model's prediction for an image."""

    picture: Picture
    height: int  # of the original image, after its EXIF orientation is applied
    width: int
    top: tuple[Guess, ...]  # most likely first
    unsure: bool  # the highest probability is below min_confidence, or no taxon is likely enough
    boxes: dict[str, tuple[FoundBox | None, ...]] = field(default_factory=dict)  # None: this image has no such box
    neighbours: tuple[Neighbour, ...] = ()  # nearest first
    known: Known | None = None  # whether it is of a known class, if that was asked
    taxon: Taxon | None = None  # the most specific taxon that is likely enough, if taxa were asked for
    asked_taxon: bool = False  # whether taxa were asked for
    choices: tuple[str, ...] = ()  # the prediction set, if one was asked for, most likely first

    @property
    def plain(self) -> bool:
        """Whether the answer is the most likely class."""
        by_class = self.taxon is None or self.taxon.level == CLASS
        return not self.unsure and by_class and (self.known is None or self.known.known)

    @property
    def uncertainty(self) -> float:
        """1 less the margin between the two likeliest classes, 0 to 1: as of `fgvc suggest`. `top` must hold both."""
        first, *others = (guess.probability for guess in self.top)
        return 1 - (first - (others[0] if others else 0.0))

    @property
    def text(self) -> str:
        """The most likely class or taxon, `unsure` or `unknown`."""
        if self.known is not None and not self.known.known:
            return UNKNOWN
        if self.unsure:
            return UNSURE
        return self.top[0].name if self.taxon is None else self.taxon.name


@dataclass(frozen=True)
class Failed:
    """An image without a prediction, and the reason."""

    picture: Picture
    reason: str


Answers = Generator[list[Answer | Failed], None, None]
Answering = Callable[[Sequence[Picture]], Answers]


def predict(
    model: outcome.Answers,
    pictures: Sequence[Picture],
    *,
    top: int = 5,
    rules: Rules | None = None,
    boxes: bool = False,
    gallery: Gallery | None = None,
    neighbours: int = 0,
) -> Answers:
    """Yield an answer or a failure for each picture, in their order, one list per batch.

    Args:
        model: the trained model, a run's or an exported one.
        pictures: the images, each an object of its own.
        top: number of most likely classes to name, at most all.
        rules: when an answer is unsure, unknown or a taxon; None: always the most likely class.
        boxes: also return the boxes in the method's evidence.
        gallery: the images among which the nearest are found.
        neighbours: number of nearest images of the gallery to name.
    """
    order = {id(picture): place for place, picture in enumerate(pictures)}  # a tar may hold a name twice
    failed: list[Failed] = []

    def on_bad(picture: Picture, error: Exception) -> None:
        failed.append(Failed(picture, str(error).removeprefix(f"{picture.file}: ")))

    compares, rules = gallery is not None and neighbours > 0, rules or Rules()
    evidence = boxes or compares or rules.detector is not None
    for seen in model.answer(pictures, evidence=evidence, on_bad=on_bad):
        near = _nearest(gallery, seen, neighbours) if gallery is not None and compares else None
        rows = [*failed, *_answers(model.classes, seen, top, rules, boxes=boxes, near=near)]
        failed.clear()
        yield sorted(rows, key=lambda row: order[id(row.picture)])
    if failed:
        yield [*failed]


def _answers(
    classes: tuple[str, ...],
    seen: Outcome,
    top: int,
    rules: Rules,
    *,
    boxes: bool,
    near: list[list[Neighbour]] | None,
) -> Iterator[Answer | Failed]:
    labels_of = np.argsort(-seen.probabilities, axis=1, kind="stable")[:, :top]
    shares_of = np.take_along_axis(seen.probabilities, labels_of, 1)
    boxes_of = _boxes(seen) if boxes else [{} for _ in seen.pictures]
    near = near or [[] for _ in seen.pictures]
    values = (shares_of.tolist(), labels_of.tolist(), boxes_of, near, rules.verdicts(seen, classes))
    for picture, (height, width), probabilities, labels, own, like, verdict in zip(
        seen.pictures, seen.sizes, *values, strict=True
    ):
        if not math.isfinite(probabilities[0]):
            yield Failed(picture, "the model's output is not finite; if --precision is fp16, try bf16 or fp32")
            continue
        guesses = tuple(Guess(classes[label], p) for label, p in zip(labels, probabilities, strict=True))
        by_taxon = rules.rollup is not None
        unsure = probabilities[0] < rules.min_confidence or (by_taxon and verdict.taxon is None)
        about = (verdict.known, verdict.taxon, by_taxon, verdict.choices)
        yield Answer(picture, height, width, guesses, unsure, own, tuple(like), *about)


def _nearest(gallery: Gallery, seen: Outcome, count: int) -> list[list[Neighbour]]:
    """For each picture the nearest images of the gallery."""
    import torch

    if seen.embedding is None:
        raise BadRequest("--neighbours: this method gives no embedding")
    return gallery.nearest(torch.from_numpy(seen.embedding), count, [picture.file for picture in seen.pictures])


def _boxes(seen: Outcome) -> list[dict[str, tuple[FoundBox | None, ...]]]:
    """For each picture its boxes by name; empty unless evidence was computed."""
    by_picture: list[dict[str, tuple[FoundBox | None, ...]]] = [{} for _ in seen.pictures]
    for name, boxes in seen.boxes.items():
        columns = (boxes.xyxy.tolist(), boxes.scores.tolist(), boxes.valid.tolist())
        for place, rows in enumerate(zip(*columns, strict=True)):
            by_picture[place][name] = tuple(
                FoundBox(tuple(xyxy), score) if valid else None for xyxy, score, valid in zip(*rows, strict=True)
            )
    return by_picture
