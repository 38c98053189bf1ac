"""What is asked of predictions, and the answers to it. An exported model answers without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference import outcome
from fgvc_cli.inference.exported import Exported, open_exported
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.predict.answers import Answering, Answers, predict
from fgvc_cli.predict.columns import Layout
from fgvc_cli.predict.kept import Kept, OfExport, OfRun
from fgvc_cli.predict.rules import Wishes, rules_for
from fgvc_cli.progress import Reporter
from fgvc_cli.values import LEAST_ROLLUP, MOST_COVERAGE, check_share

if TYPE_CHECKING:
    from fgvc_cli.inference.features.gallery import Gallery
    from fgvc_cli.inference.look import Model
    from fgvc_cli.methods.base import Evidence

ENDING = ".onnx"  # of exported files that answer


@dataclass(frozen=True)
class PredictRequest(Wishes):
    """How many classes to name, what else to give, and when an answer is unsure, unknown or a taxon."""

    top: int = 5  # most likely classes
    boxes: bool | None = False  # give the method's boxes; None: if it has any
    neighbours: int = 0  # most similar training images

    def __post_init__(self) -> None:
        if self.top < 1:
            raise BadRequest(f"--top {self.top}: give at least 1")
        if self.neighbours < 0:
            raise BadRequest(f"--neighbours {self.neighbours}: give 0 or more")
        check_share(self.min_confidence, "min-confidence")
        check_share(self.target_precision, "target-precision")
        check_share(self.set_coverage, "set-coverage", most=MOST_COVERAGE)
        check_share(self.rollup, "rollup", least=LEAST_ROLLUP)


def has_boxes(evidence: Evidence) -> bool:
    """Whether a method's evidence has boxes."""
    return bool(evidence.boxes)


def gives_boxes(model: Model, request: PredictRequest) -> bool:
    """Whether a run's model is to give boxes. BadRequest if they are asked for and its method has none."""
    from fgvc_cli.inference.find import evidence_of, methods_with

    if request.boxes is False or has_boxes(evidence_of(model.spec, len(model.classes))):
        return request.boxes is not False
    if request.boxes is None:
        return False
    raise BadRequest(
        f"--boxes: method {model.spec.method.name} has none; leave it out, or name a run of "
        f"{', '.join(methods_with(has_boxes))}"
    )


def answers_of_run(model: Model, request: PredictRequest, reporter: Reporter) -> Answering:
    """What answers images with a run's model.

    BadRequest, before an image is shown, if the model cannot give what is asked. The reporter tells thresholds, and
    the progress of what is computed first.
    """
    boxes, kept = gives_boxes(model, request), OfRun(model)
    gallery = None
    if request.neighbours:
        from fgvc_cli.inference.features.gallery import open_gallery  # the readers of datasets delay other predictions

        gallery = open_gallery(model, "train", reporter)
    return answers_of(model, kept, request, reporter, boxes=boxes, gallery=gallery)


def answers_of(
    model: outcome.Answers,
    kept: Kept,
    request: PredictRequest,
    reporter: Reporter,
    *,
    boxes: bool,
    gallery: Gallery | None = None,
) -> Answering:
    """The same of any model. `kept` is what its answers are judged by; `boxes` whether it is to give them."""
    rules = rules_for(kept, request, reporter)

    def answer(pictures: Sequence[Picture]) -> Answers:
        return predict(
            model, pictures, top=request.top, rules=rules, boxes=boxes, gallery=gallery, neighbours=request.neighbours
        )

    return answer


def layout_of(request: PredictRequest, classes: int, boxes: Mapping[str, int]) -> Layout:
    """What every answer has. `boxes`: how many of each name the model gives."""
    asked = (request.unknown, request.rollup is not None, request.set_coverage is not None)
    return Layout(min(request.top, classes), *asked, boxes, request.neighbours)


def boxes_of_run(model: Model, request: PredictRequest) -> dict[str, int]:
    """How many boxes of each name a run's model gives, if it is to give them."""
    from fgvc_cli.inference.find import evidence_of

    found = evidence_of(model.spec, len(model.classes)).boxes if gives_boxes(model, request) else {}
    return {name: boxes.xyxy.shape[1] for name, boxes in found.items()}


def is_exported(path: Path | None) -> bool:
    """Whether a path is that of an exported file."""
    return path is not None and path.suffix.lower() == ENDING


def open_for_answers(
    path: Path, *, batch_size: int | None = None, device: str | None = None, precision: str | None = None
) -> Exported:
    """Open an exported file as a request for a run's model would open that. BadRequest for what it cannot do."""
    if device not in (None, "auto", "cpu"):
        raise BadRequest(f"--device {device}: an exported file answers on the CPU; name the run for a GPU")
    if precision is not None:
        raise BadRequest(f"--precision {precision}: that of an exported file was chosen when it was exported")
    return open_exported(path, batch_size=batch_size)


def boxes_of_export(model: Exported, request: PredictRequest) -> dict[str, int]:
    """How many boxes of each name a file gives, if it is to give them. BadRequest if it has none and must."""
    if request.boxes is False:
        return {}
    if request.boxes and not model.boxes:
        raise BadRequest(f"--boxes: {model.name} gives none: export a run with boxes with --evidence")
    return dict(model.boxes)


def answers_of_export(model: Exported, request: PredictRequest, reporter: Reporter) -> Answering:
    """What answers images with an exported file, as `answers_of_run` does. BadRequest for what needs the run."""
    if request.neighbours:
        raise BadRequest("--neighbours shows training images: name the run, not an exported file")
    boxes = bool(boxes_of_export(model, request))
    return answers_of(model, OfExport(model), request, reporter, boxes=boxes)
