"""A trained model's predictions for images, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.look import Model, Seen, look
from fgvc_cli.inference.pictures import Picture

if TYPE_CHECKING:
    from fgvc_cli.inference.features.gallery import Gallery, Neighbour

UNSURE = "unsure"


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
    unsure: bool  # the highest probability is below min_confidence
    boxes: dict[str, tuple[FoundBox | None, ...]] = field(default_factory=dict)  # None: this image has no such box
    neighbours: tuple[Neighbour, ...] = ()  # nearest first

    @property
    def text(self) -> str:
        """The most likely class, or `unsure`."""
        return UNSURE if self.unsure else self.top[0].name


@dataclass(frozen=True)
class Failed:
    """An image without a prediction, and the reason."""

    picture: Picture
    reason: str


Answers = Generator[list[Answer | Failed], None, None]


def predict(
    model: Model,
    pictures: Sequence[Picture],
    *,
    top: int = 5,
    min_confidence: float = 0.0,
    boxes: bool = False,
    gallery: Gallery | None = None,
    neighbours: int = 0,
) -> Answers:
    """Yield an answer or a failure for each picture, in their order, one list per batch.

    Args:
        model: the trained model.
        pictures: each file once.
        top: number of most likely classes to name, at most all.
        min_confidence: a prediction less likely than this (0..1) is unsure; the probabilities are calibrated if the
            run has a temperature.
        boxes: also return the boxes in the method's evidence.
        gallery: the images among which the nearest are found.
        neighbours: number of nearest images of the gallery to name.
    """
    order = {picture.file: place for place, picture in enumerate(pictures)}
    failed: list[Failed] = []

    def on_bad(picture: Picture, error: Exception) -> None:
        failed.append(Failed(picture, str(error).removeprefix(f"{picture.file}: ")))

    compares = gallery is not None and neighbours > 0
    for seen in look(model, pictures, evidence=boxes or compares, on_bad=on_bad):
        near = _nearest(gallery, seen, neighbours) if gallery is not None and compares else None
        rows = [*failed, *_answers(model.classes, seen, top, min_confidence, boxes=boxes, near=near)]
        failed.clear()
        yield sorted(rows, key=lambda row: order[row.picture.file])
    if failed:
        yield [*failed]


def _answers(
    classes: tuple[str, ...],
    seen: Seen,
    top: int,
    min_confidence: float,
    *,
    boxes: bool,
    near: list[list[Neighbour]] | None,
) -> Iterator[Answer | Failed]:
    found = seen.probabilities.topk(min(top, len(classes)))
    boxes_of = _boxes(seen) if boxes else [{} for _ in seen.pictures]
    near = near or [[] for _ in seen.pictures]
    values = (found.values.tolist(), found.indices.tolist(), boxes_of, near)
    for picture, (height, width), probabilities, labels, own, like in zip(
        seen.pictures, seen.sizes, *values, strict=True
    ):
        if not math.isfinite(probabilities[0]):
            yield Failed(picture, "the model's output is not finite; if --precision is fp16, try bf16 or fp32")
            continue
        guesses = tuple(Guess(classes[label], p) for label, p in zip(labels, probabilities, strict=True))
        unsure = probabilities[0] < min_confidence
        yield Answer(picture, height, width, guesses, unsure, own, tuple(like))


def _nearest(gallery: Gallery, seen: Seen, count: int) -> list[list[Neighbour]]:
    """For each picture the nearest images of the gallery."""
    evidence = seen.output.evidence
    if evidence is None or evidence.embedding is None:
        raise BadRequest("--neighbours: this method gives no embedding")
    return gallery.nearest(evidence.embedding.cpu(), count, [picture.file for picture in seen.pictures])


def _boxes(seen: Seen) -> list[dict[str, tuple[FoundBox | None, ...]]]:
    """For each picture its boxes by name; empty unless evidence was computed."""
    by_picture: list[dict[str, tuple[FoundBox | None, ...]]] = [{} for _ in seen.pictures]
    evidence = seen.output.evidence
    for name, boxes in evidence.boxes.items() if evidence is not None else ():
        original, scores = seen.original_boxes(boxes.xyxy).tolist(), boxes.scores.float().tolist()
        for place, rows in enumerate(zip(original, scores, boxes.valid.tolist(), strict=True)):
            by_picture[place][name] = tuple(
                FoundBox(tuple(xyxy), score) if valid else None for xyxy, score, valid in zip(*rows, strict=True)
            )
    return by_picture
