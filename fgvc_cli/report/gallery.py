"""Pictures for a report: right and wrong predictions with their heat maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from fgvc_cli.data.images.read import ImageError
from fgvc_cli.data.splits import limit
from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.predictions import read_predictions
from fgvc_cli.inference.dataset import Images
from fgvc_cli.inference.look import Model, Seen, look, open_model
from fgvc_cli.inference.pictures import Picture, split_pictures
from fgvc_cli.inference.request import EvalRequest, with_request
from fgvc_cli.progress import Reporter
from fgvc_cli.report.embedded import data_uri, webp
from fgvc_cli.report.record import Record, Tree
from fgvc_cli.terminal import Console
from fgvc_cli.viz.kinds.boxes import set_colours
from fgvc_cli.viz.kinds.saliency import saliency
from fgvc_cli.viz.overview import overview

LOOKED = 600  # images to choose from where no predictions are recorded, besides those of the most confused classes
PAIRS = 6  # confusions that are shown with pictures
_OF_A_PAIR = 60  # images of a pair's true class to search for the confusion
_OF_THE_OTHER = 12  # images of its predicted class to search for a right prediction
_SIDE = 320  # side of a picture, in pixels
_AT_ONCE = 8  # batch size where the autograd graph is kept


@dataclass(frozen=True)
class Answer:
    """The prediction for one image whose class is known."""

    picture: Picture
    true: int
    predicted: int
    probability: float  # probability of the predicted class, 0..1

    @property
    def right(self) -> bool:
        """Whether the prediction is the true class."""
        return self.true == self.predicted


@dataclass(frozen=True)
class Card:
    """A picture ready for the page."""

    file: str
    true: str
    predicted: str
    probability: float
    truth: float  # probability of the true class
    rank: int  # of the true class by probability, from 1
    evidence: str  # data URI of the image with heat map and boxes
    plain: str  # data URI of the image alone
    width: int
    height: int
    heat: str  # kind of the heat map and its head
    speaks: bool  # whether the heat map points at anything
    frames: dict[str, str]  # the method's sets of boxes: name → CSS colour

    @property
    def right(self) -> bool:
        """Whether the prediction is the true class."""
        return self.true == self.predicted


@dataclass(frozen=True)
class Pair:
    """One confusion: its count over the whole split, and examples."""

    facts: Tree  # true, predicted, images, share
    wrong: list[Card]  # images of the true class, predicted as the other
    known: list[Card]  # right predictions: of the true class, then of the other


@dataclass(frozen=True)
class Gallery:
    """The pictures of a run."""

    cards: list[Card]  # wrong predictions by descending probability, then right ones, spread over the split
    pairs: list[Pair]
    looked: int  # images that the cards were chosen from
    wrong: int  # wrong predictions among them
    total: int  # images of the split

    @property
    def shape(self) -> float:
        """The median aspect ratio (width / height) of the pictures, limited to 0.75..1.6."""
        cards = [*self.cards, *(card for pair in self.pairs for card in pair.wrong + pair.known)]
        return float(np.clip(np.median([card.width / card.height for card in cards]), 0.75, 1.6)) if cards else 1.0


def make_gallery(record: Record, request: EvalRequest, wanted: int, console: Console) -> Gallery | None:
    """About `wanted` pictures, half of them wrong if there are enough, and examples of the most frequent confusions.

    Returns None if there is no model or its images cannot be read; a notice in the record says why.
    """
    if record.about is None:
        return None
    try:
        model = open_model(record.run.path, request)
        images = model.open_images(console)
        record.data_notes.extend(images.index.notes)
        if images.index.classes != model.classes:
            raise FgvcError(f"the classes at {images.index.root} differ from those that the model was trained on")
        return _Maker(record, model, images, console).make(wanted) if wanted else None
    except FgvcError as error:
        record.notices.append(f"No pictures: {error}")
        return None


class _Maker:
    def __init__(self, record: Record, model: Model, images: Images, console: Console) -> None:
        self.record, self.model, self.console = record, model, console
        self.split = images.split
        self.pictures = split_pictures(images.index, self.split, model.classes)
        self.number = {name: label for label, name in enumerate(model.classes)}
        self.bad: list[ImageError] = []

    def make(self, wanted: int) -> Gallery:
        """Choose some images by their predictions and draw them."""
        pairs = self._worst_pairs()
        answers, drawn = self._recorded() or self._predicted(pairs)
        chosen = choose(drawn, wanted)
        examples = [self._examples(pair, answers) for pair in pairs]
        cards = self._cards([*chosen, *(answer for group in examples for part in group for answer in part)])
        if self.bad:
            message = f"{len(self.bad)} images could not be read and are not shown, for example {self.bad[0]}"
            self.record.notices.append(message)
        return Gallery(
            cards=list(_those(cards, chosen)),
            pairs=[
                Pair(facts, list(_those(cards, wrong)), list(_those(cards, known)))
                for facts, (wrong, known) in zip(pairs, examples, strict=True)
            ],
            looked=len(drawn),
            wrong=sum(not answer.right for answer in drawn),
            total=len(self.split),
        )

    def _recorded(self) -> tuple[list[Answer], list[Answer]] | None:
        """The predictions that `fgvc eval` recorded for the whole split, twice: to choose pairs and cards from.

        None if there are none, or if they are not of these images and classes.
        """
        file = self.record.measured and self.record.measured.result.get("files", {}).get("predictions")
        if not file:
            return None
        named = {picture.name: picture for picture in self.pictures}
        try:
            rows = read_predictions(self.record.run.path / file)
            answers = [
                Answer(named[row.image], self.number[row.true], self.number[row.predicted], row.probability)
                for row in rows
            ]
        except (FgvcError, KeyError):
            return None
        return answers, answers

    def _predicted(self, pairs: Sequence[Tree]) -> tuple[list[Answer], list[Answer]]:
        """Predictions made now: those to choose pairs from, and those of a sample of the split to choose cards from."""
        sample = set(limit(self.split, LOOKED).files)
        wishes = {picture.name for pair in pairs for picture in self._candidates(pair)}
        answers = list(self._answers([picture for picture in self.pictures if picture.name in sample | wishes]))
        return answers, [answer for answer in answers if answer.picture.name in sample]

    def _worst_pairs(self) -> list[Tree]:
        measured = self.record.measured
        return list(measured.result.get("confusions", []))[:PAIRS] if measured else []

    def _candidates(self, pair: Tree) -> Iterator[Picture]:
        for name, most in ((pair["true"], _OF_A_PAIR), (pair["predicted"], _OF_THE_OTHER)):
            yield from [picture for picture in self.pictures if picture.label == self.number[name]][:most]

    def _answers(self, pictures: Sequence[Picture]) -> Iterator[Answer]:
        for seen in self._look(self.model, pictures, f"predicting {len(pictures)} {self.record.split} images"):
            probabilities, predicted = (part.tolist() for part in seen.probabilities.max(1))
            for picture, share, label in zip(seen.pictures, probabilities, predicted, strict=True):
                assert picture.label is not None
                yield Answer(picture, picture.label, label, share)

    def _examples(self, pair: Tree, answers: Sequence[Answer]) -> tuple[list[Answer], list[Answer]]:
        """The two most confident images of the confusion, and one right prediction of each class."""
        true, predicted = self.number[pair["true"]], self.number[pair["predicted"]]
        ordered = sorted(answers, key=lambda answer: -answer.probability)
        wrong = [answer for answer in ordered if (answer.true, answer.predicted) == (true, predicted)]
        known = [[one for one in ordered if one.right and one.true == label][:1] for label in (true, predicted)]
        return wrong[:2], [*known[0], *known[1]]

    def _cards(self, answers: Iterable[Answer]) -> dict[str, Card]:
        """The cards of some answers by image name; each image is drawn once."""
        pictures = list({answer.picture.name: answer.picture for answer in answers}.values())
        request = EvalRequest(batch_size=min(_AT_ONCE, self.model.spec.train.batch_size))
        model = replace(self.model, spec=with_request(self.model.spec, request))
        wanted: dict[str, Any] = {"evidence": True, "gradients": True, "originals": True}
        cards: dict[str, Card] = {}
        for seen in self._look(model, pictures, f"drawing {len(pictures)} pictures", **wanted):
            cards |= _draw(model, seen)
        return cards

    def _look(self, model: Model, pictures: Sequence[Picture], title: str, **wanted: Any) -> Iterator[Seen]:
        reporter = Reporter(self.console)
        reporter.begin(title, -(-len(pictures) // (model.spec.train.eval_batch_size or model.spec.train.batch_size)))
        try:
            for seen in look(model, pictures, on_bad=lambda _, error: self.bad.append(error), **wanted):
                yield seen
                reporter.advance(len(seen.pictures))
        finally:
            reporter.end()


def choose(answers: Sequence[Answer], wanted: int) -> list[Answer]:
    """Half wrong ones, the most confident first, half right ones, evenly spaced; one half can fill up the other."""
    wrong = sorted((answer for answer in answers if not answer.right), key=lambda answer: -answer.probability)
    right = [answer for answer in answers if answer.right]
    few = min(len(wrong), max(wanted // 2, wanted - len(right)))
    places = np.linspace(0, len(right) - 1, min(wanted - few, len(right))).round().astype(int)
    return [*wrong[:few], *(right[place] for place in dict.fromkeys(places.tolist()))]


def _those(cards: dict[str, Card], answers: Iterable[Answer]) -> Iterator[Card]:
    """The cards of some answers, without those whose image could not be read the second time."""
    return (cards[answer.picture.name] for answer in answers if answer.picture.name in cards)


def _draw(model: Model, seen: Seen) -> Iterator[tuple[str, Card]]:
    assert seen.output.evidence is not None
    heat, colours = saliency(seen), set_colours(seen.output.evidence.boxes)
    for position, picture in enumerate(seen.pictures):
        shares = seen.probabilities[position]
        label, predicted = int(seen.batch.labels[position]), int(shares.argmax())
        pixels = overview(model, seen, position, width=_SIDE, heat=heat)
        height, width = pixels.shape[:2]
        original = Image.fromarray(seen.originals[position].permute(1, 2, 0).numpy())
        plain = original.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2)
        card = Card(
            file=picture.name,
            true=model.classes[label],
            predicted=model.classes[predicted],
            probability=float(shares[predicted]),
            truth=float(shares[label]),
            rank=int((shares > shares[label]).sum()) + 1,
            evidence=data_uri(webp(Image.fromarray(pixels))),
            plain=data_uri(webp(plain)),
            width=width,
            height=height,
            heat=f"{heat.kind} of {heat.head}",
            speaks=heat.speaks(position),
            frames={name: f"rgb{colour}" for name, colour in colours.items()},
        )
        yield picture.name, card
