"""What a model says of an image and why: its answer, and the pictures of what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from fgvc_cli.data.images.read import ImageError
from fgvc_cli.errors import FgvcError
from fgvc_cli.inference.features.gallery import Gallery
from fgvc_cli.inference.look import Model
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.predict.answers import Answer, Failed, predict
from fgvc_cli.predict.kept import OfRun
from fgvc_cli.predict.rules import Rules, Wishes, rules_for
from fgvc_cli.progress import Reporter
from fgvc_cli.serve.engine import Work
from fgvc_cli.serve.limits import Limits
from fgvc_cli.serve.problems import NOT_FOUND, WRONG, Problem
from fgvc_cli.serve.uploads import Upload
from fgvc_cli.viz.draw import explain, kinds_for
from fgvc_cli.viz.kinds.table import KINDS
from fgvc_cli.viz.scene import Options
from fgvc_cli.viz.selection import class_number

VERSUS = "versus"
PRECISION = 0.95  # of sure answers, where the user asks for nothing else
_TOP = 5
_DPI = 110


@dataclass(frozen=True)
class Question:
    """A picture that is asked for."""

    upload: Upload
    kind: str
    label: str | None = None  # the class to explain; None: the predicted one
    against: str | None = None  # the class to compare it with; None: the likeliest other one


@dataclass(frozen=True)
class Explainer:
    """A model with all that its answers are made of."""

    model: Model
    rules: Rules
    limits: Limits
    gallery: Gallery | None = None  # the training images; None: they are not compared with
    neighbours: int = 0
    answering: Work[Upload, Answer | Problem] = field(init=False)
    drawing: Work[Question, bytes] = field(init=False)

    def __post_init__(self) -> None:
        most = (self.limits.together, self.limits.pixels)
        object.__setattr__(self, "answering", Work(self._answers, *most))
        object.__setattr__(self, "drawing", Work(self._draw))

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of pictures that suit the run, what tells two classes apart first."""
        found = [kind for kind in kinds_for(self.model) if kind != VERSUS or len(self.model.classes) > 1]
        return tuple(sorted(found, key=lambda kind: kind != VERSUS))

    def question(self, upload: Upload, kind: str, label: str | None, against: str | None) -> Question:
        """The question of a kind and names of classes. Problem if there is no such kind or class."""
        if kind not in self.kinds:
            raise Problem(f"this model has no picture {kind}; it has {', '.join(self.kinds) or 'none'}", NOT_FOUND)
        wanted = self.known(label) if label and KINDS[kind].of_a_class else None
        other = self.known(against) if against and kind == VERSUS else None
        return Question(upload, kind, wanted, other)

    def known(self, name: str) -> str:
        """The class of a name, however it is written. Problem that names those most similar, if there is none."""
        try:
            return self.model.classes[class_number(name, self.model.classes, "class")]
        except FgvcError as error:
            raise Problem(str(error), WRONG) from None

    def _answers(self, uploads: Sequence[Upload]) -> list[Answer | Problem]:
        pictures = [upload.picture for upload in uploads]
        found: dict[str, Answer | Problem] = {}
        given = {"gallery": self.gallery, "neighbours": self.neighbours}
        for batch in predict(self._small, pictures, top=_TOP, rules=self.rules, **given):  # type: ignore[arg-type]
            for row in batch:
                failed = isinstance(row, Failed)
                found[row.picture.name] = Problem(f"the file {row.reason}", WRONG) if failed else row  # type: ignore[assignment, union-attr]
        return [found[upload.id] for upload in uploads]

    def _draw(self, questions: Sequence[Question]) -> list[bytes]:
        return [self._drawn(one) for one in questions]

    def _drawn(self, asked: Question) -> bytes:
        """A PNG."""
        picture = Picture(asked.upload.name or asked.upload.id, asked.upload.file)
        try:
            options = Options(dpi=_DPI)
            _, sheet, _ = explain(
                self.model, picture, asked.kind, label=asked.label, against=asked.against, options=options
            )
        except ImageError:
            raise Problem("this image cannot be read any more: send it again", WRONG) from None
        return sheet.png()

    @cached_property
    def _small(self) -> Model:
        """The model with the batches of a server."""
        train = self.model.spec.train.model_copy(update={"eval_batch_size": self.limits.together})
        return replace(self.model, spec=self.model.spec.model_copy(update={"train": train}))


def usual_rules(model: Model, wishes: Wishes, unknown: bool | None, reporter: Reporter) -> tuple[Rules, list[str]]:
    """The rules that are asked for, and where nothing is asked those for which the run has a validation split.

    Args:
        model: the model.
        wishes: what is asked for; must be possible.
        unknown: whether images of unknown classes are told; None: if the run can.
        reporter: shows what is found.

    Returns:
        The rules, and a line for each that the run cannot follow.
    """
    rules = rules_for(OfRun(model), replace(wishes, unknown=bool(unknown)), reporter)
    notes: list[str] = []
    if wishes.target_precision is None and not wishes.min_confidence:
        found = _if_possible(model, Wishes(target_precision=PRECISION), "no answer is called unsure", notes, reporter)
        rules = replace(rules, min_confidence=found.min_confidence)
    if unknown is None:
        found = _if_possible(model, Wishes(unknown=True), "no image is called unknown", notes, reporter)
        rules = replace(rules, detector=found.detector)
    return rules, notes


def _if_possible(model: Model, wishes: Wishes, without: str, notes: list[str], reporter: Reporter) -> Rules:
    try:
        return rules_for(OfRun(model), wishes, reporter)
    except FgvcError as error:
        notes.append(f"{without}: {error}")
        return Rules()


def usual_gallery(model: Model, wanted: int, reporter: Reporter) -> tuple[Gallery | None, list[str]]:
    """The training images to compare with, and why there are none if they cannot be read."""
    if not wanted:
        return None, []
    from fgvc_cli.inference.features.gallery import open_gallery

    try:
        return open_gallery(model, "train", reporter, _pass_over(reporter.line)), []
    except FgvcError as error:
        return None, [f"no similar training images are shown: {error}"]


def _pass_over(line: Callable[[str], None]) -> Callable[[Picture, Exception], None]:
    return lambda picture, error: line(str(error))
