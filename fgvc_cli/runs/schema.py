"""The form of each file of a run: whatever is read from a run is checked here first.

This module does not import torch: listing runs must be quick.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import read_text
from fgvc_cli.spec.build import validate
from fgvc_cli.spec.complaints import readable
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.values import parse


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError("must be a file below the run's folder")
    return name


_MOST_OF_SPEC, _MOST = 1 << 24, 1 << 30  # bytes of a file: the splits of the largest dataset take a fifth of that
Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Temperature = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Inside = Annotated[str, AfterValidator(_inside)]


class _Form(BaseModel):
    """Fields that are not named here are allowed, and not checked: another version of fgvc may write more."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Branch(_Form):
    """The accuracy of one output of a method."""

    top1: Share
    top5: Share
    mean_per_class: Share
    macro_f1: Share | None = None


class Calibrated(_Form):
    """The calibration error of a model's prediction."""

    ece: Share
    temperature: Temperature = 1.0
    ece_calibrated: Share = 0.0

    @model_validator(mode="after")
    def _both(self) -> Self:
        if len(self.model_fields_set & {"temperature", "ece_calibrated"}) == 1:
            raise ValueError("must have both temperature and ece_calibrated, or neither")
        return self


class BoxMeasures(_Form):
    """How well the boxes of one kind locate the object."""

    mean_iou: Share
    over_half: Share


class MapMeasures(_Form):
    """How often the peak of a map is on the object."""

    pointing: Share
    pointing_part: Share | None = None


class PartMeasures(_Form):
    """The baseline of `pointing_part`."""

    images: Count
    reach: Number
    random_point: Share


class Localised(_Form):
    """Measures of boxes and maps."""

    boxes: dict[str, BoxMeasures]
    maps: dict[str, MapMeasures]
    parts: PartMeasures | None = None


class Retrieved(_Form):
    """Whether an image's nearest others are of its class."""

    queries: Count
    recall_1: Share
    recall_5: Share
    recall_10: Share
    map: Share


class Selective(_Form):
    """The risk-coverage curve in numbers."""

    area: Share
    accuracy_80: Share
    accuracy_90: Share
    accuracy_95: Share


class Target(_Form):
    """A wanted precision, and what came of it."""

    asked: Share
    threshold: Number
    validation_images: Count
    images: str = "validation images"  # what those are
    coverage: Share
    precision: Share


class Sets(_Form):
    """Prediction sets."""

    asked: Share
    coverage: Share
    mean_size: Number
    single: Share


class RolledUp(_Form):
    """Answers by the taxon."""

    asked: Share
    coverage: Share
    precision: Share
    promised: Share
    specificity: Share
    levels: dict[str, Share]


class ByTree(_Form):
    """Measures by a tree of the classes."""

    height: Count
    accuracy: dict[str, Share]
    severity: Number | None
    rollup: RolledUp


class UnknownScore(_Form):
    """How well one score tells unknown images."""

    auroc: Share
    fpr95: Share
    accepted: Share
    rejected: Share
    open_set_accuracy: Share
    validation: Share


class Unknown(_Form):
    """Telling images of unknown classes."""

    images: Count
    what: str
    default: str
    recall: Share
    scores: dict[str, UnknownScore]


class Confused(_Form):
    """One pair of classes that are confused."""

    true: str
    predicted: str
    images: Count
    share: Share


class ClassMeasures(_Form):
    """One class: a row of the table SPLIT-classes.csv."""

    name: str = Field(alias="class")
    images: Count
    precision: Share | None
    recall: Share | None
    f1: Share | None


class Branches(_Form):
    """The accuracy of each output of a method; `final` is its prediction."""

    __pydantic_extra__: dict[str, Branch]
    final: Branch


class EvalResult(_Form):
    """eval/SPLIT.json. Older versions of fgvc wrote fewer fields."""

    run: str
    split: str
    epoch: Count
    classes: Annotated[int, Field(ge=1, le=2**53)]
    images: Annotated[int, Field(ge=1, le=2**53)]
    loss: Number | None = None
    branches: Branches
    calibration: Calibrated | None = None
    localisation: Localised | None = None
    retrieval: Retrieved | None = None
    selective: Selective | None = None
    target: Target | None = None
    sets: Sets | None = None
    taxonomy: ByTree | None = None
    unknown: Unknown | None = None
    confusions: list[Confused] = []
    worst_classes: list[ClassMeasures] = []
    per_class: list[ClassMeasures] = []
    files: dict[str, Inside] = {}


class Splits(_Form):
    """The images of each split by file name."""

    train: list[str]
    test: list[str]
    val: list[str] = []


class SplitsRecord(_Form):
    """splits.json."""

    classes: Annotated[list[str], Field(min_length=1)]
    splits: Splits
    left_out: list[str] = []


class TaxonomyRecord(_Form):
    """taxonomy.json: the taxa above each class, the highest first."""

    levels: Annotated[list[str], Field(min_length=1, max_length=64)]
    classes: Annotated[dict[str, list[str]], Field(min_length=1)]

    @model_validator(mode="after")
    def _not_deeper(self) -> Self:
        if max(map(len, self.classes.values())) > len(self.levels):
            raise ValueError("a class has more taxa than there are levels")
        return self


class Classes(RootModel[Annotated[list[str], Field(min_length=1)]]):
    """classes.json: class names in label order."""


class Environment(_Form):
    """environment.json; every field is optional."""

    packages: dict[str, str | None] = {}


class Calibration(_Form):
    """calibration.json."""

    images: Count
    epoch: Count
    temperature: Temperature
    fitted: bool


class TrackerRecord(_Form):
    """The run in an experiment tracker."""

    id: Annotated[str, Field(min_length=1, max_length=500)]
    where: str = ""


class PictureEntry(_Form):
    """One picture in manifest.json."""

    file: Inside


class Pictures(_Form):
    """viz/manifest.json."""

    pictures: list[PictureEntry]


class Validated(_Form):
    """The answers to images that were not trained on, by which thresholds are chosen; N numbers each."""

    confidence: list[Share]  # calibrated probability of the predicted class
    right: list[Annotated[int, Field(ge=0, le=1)]]  # whether that is the true class
    score: list[Number]  # the true class's, of conformal prediction
    images: str = "validation images"  # what they are, for messages

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if not len(self.confidence) == len(self.right) == len(self.score) > 0:
            raise ValueError("must hold as many numbers in each list, and at least one")
        return self


class ModelAbout(_Form):
    """The metadata of model.safetensors."""

    spec: dict[str, Any]
    classes: Annotated[list[str], Field(min_length=1)]
    epoch: Count
    val_top1: Share | None = None
    ema: bool = False
    enrolled: list[str] = []
    removed: list[str] = []
    temperature: Temperature = 1.0
    validation: Validated | None = None  # this and the next only in an exported file, which has no run folder
    taxonomy: TaxonomyRecord | None = None


class AveragedRun(_Form):
    """One of the runs whose weights were averaged, measured on the validation split."""

    run: str
    val_top1: Share
    val_loss: Number


class Soup(_Form):
    """An average of some of them, on the same images."""

    kind: str
    runs: list[str]
    val_top1: Share
    val_loss: Number


class AverageRecord(_Form):
    """average.json."""

    runs: list[AveragedRun] = []
    soups: list[Soup] = []
    chosen: str


def read_file(file: Path, form: type[BaseModel]) -> Any:
    """The content of a JSON file of a run as plain values, after it was checked against its form.

    FgvcError, one line with the file and the wrong field, if it cannot be read.
    """
    try:
        size, most = file.stat().st_size, _MOST_OF_SPEC if form is RunJson else _MOST
        if size > most:
            raise FgvcError(f"cannot read {file}: it has {size:,} bytes, and more than {most:,} are not read")
        return parsed(read_text(file), form)
    except OSError as error:
        raise FgvcError(f"cannot read {file}: {error.strerror or error}") from None
    except ValueError as error:
        raise FgvcError(f"cannot read {file}: {error}") from None


def parsed(text: str, form: type[BaseModel]) -> Any:
    """The plain values of a JSON text. ValueError, one line with the wrong field, if it has not the form."""
    try:
        tree = parse(text)
        form.model_validate(tree, strict=True)
    except ValidationError as error:
        first, *more = readable(error, form)
        if not error.errors()[0]["loc"]:  # the whole file is of another kind; `readable` calls that the spec
            first = first.removeprefix("spec: ")
        raise ValueError(first + (f" (and {len(more)} more)" if more else "")) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not valid JSON: line {error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise ValueError(f"it is not valid JSON: {error}") from None
    return tree


def checked_spec(tree: Any, file: Path) -> RunSpec:
    """The spec that a file of a run holds. FgvcError, one line with the file and the wrong field, if it is wrong."""
    try:
        spec = validate(tree)
    except BadRequest as error:
        first, *more = error.args
        raise FgvcError(f"cannot read {file}: {first}" + (f" (and {len(more)} more)" if more else "")) from None
    if spec.data.unresolved:
        raise FgvcError(f"cannot read {file}: data.{spec.data.unresolved[0]}: a run's record holds values, not auto")
    return spec


class RunJson(RootModel[dict[str, Any]]):
    """run.json before `checked_spec`."""
