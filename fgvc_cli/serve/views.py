"""What the server sends and takes, as JSON: the models of its OpenAPI description."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from fgvc_cli.predict.rows import answer_facts
from fgvc_cli.serve.corrections import Correction
from fgvc_cli.serve.uploads import Held

Share = Annotated[float, Field(ge=0, le=1)]


class View(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(populate_by_name=True)


class ProblemView(View):
    """Why a request was refused."""

    error: str = Field(description="one line")


class GuessView(View):
    """A class and its probability."""

    name: str = Field(alias="class")
    probability: Share


class KnownView(View):
    """Whether the image seems to be of a known class."""

    known: bool
    score: float
    threshold: float
    by: str = Field(description="the score's name")


class TaxonView(View):
    """The most specific taxon that is likely enough."""

    name: str
    level: str
    probability: Share


class NeighbourView(View):
    """A training image that is like the image."""

    training: int = Field(description="its number: /api/training/NUMBER/thumbnail shows it")
    name: str | None = Field(None, alias="class")
    distance: float = Field(description="1 less the cosine of the embeddings, 0 to 2")


class CorrectionView(View):
    """What an image really is."""

    id: str
    path: str = Field(description="the kept copy, relative to the CSV file")
    name: str | None = Field(None, alias="class", description="null: none of the classes")
    predicted: str = ""

    @classmethod
    def of(cls, one: Correction) -> CorrectionView:
        """The view of a correction."""
        return cls(id=one.id, path=one.path, name=one.class_name, predicted=one.predicted)


class AnswerView(View):
    """The model's answer to an image."""

    id: str = Field(description="made of the image's content")
    name: str = Field(description="the file's, as sent")
    width: int
    height: int
    answer: str = Field(description="the class or taxon, `unsure` or `unknown`")
    unsure: bool
    known: KnownView | None = None
    taxon: TaxonView | None = None
    choices: list[str] = Field([], alias="set", description="the prediction set, if one was asked for")
    top: list[GuessView] = Field(description="the likeliest classes, with calibrated probabilities")
    uncertainty: Share = Field(description="1 less the margin between the two likeliest")
    neighbours: list[NeighbourView] = []
    correction: CorrectionView | None = None

    @classmethod
    def of(cls, held: Held, correction: Correction | None, training: dict[str, int]) -> AnswerView:
        """The view of an answer. `training`: file of a training image → its number."""
        facts = answer_facts(held.answer)
        for one in facts.get("neighbours", ()):
            one["training"] = training[one["image"]]
        facts |= {"id": held.upload.id, "name": held.upload.name}
        facts["uncertainty"] = min(max(round(held.answer.uncertainty, 6), 0), 1)
        facts["correction"] = correction and CorrectionView.of(correction)
        return cls.model_validate(facts)


class Wish(View):
    """A correction to record."""

    name: str | None = Field(alias="class", max_length=1000, description="a class of the model; null: none of them")


class ModelView(View):
    """The model that answers."""

    run: str
    method: str
    classes: list[str]
    kinds: list[str] = Field(description="pictures of why an answer was given")
    temperature: float
    unsure_below: Share
    notes: list[str] = Field(description="what this run cannot do, and why")


class RetrainingView(View):
    """How to train on the corrections."""

    command: str
    corrections: int
    own: int = Field(description="of them images of the run's own data, whose labels the table mends")
    left_out: int = Field(description="of them images of none of the classes")
    images: int = Field(description="in the table that the command trains on; 0: it trains on the corrections alone")
    note: str = ""
