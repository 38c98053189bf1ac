"""An exported file in the place of a run: what is kept in it, and what can be asked of it. Needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.data.taxonomy_file import read_taxonomy
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded
from fgvc_cli.inference.exported import Exported, open_exported
from fgvc_cli.predict.answers import Answering
from fgvc_cli.predict.asked import PredictRequest, answers_of
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.schema import Validated

if TYPE_CHECKING:
    from fgvc_cli.evaluation.certainty.detector import Detector
    from fgvc_cli.evaluation.certainty.validation import Validation

ENDING = ".onnx"


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


@dataclass(frozen=True)
class OfExport:
    """What an exported file keeps of its run; it is one of `fgvc_cli.predict.rules.Kept`."""

    model: Exported

    @property
    def classes(self) -> tuple[str, ...]:
        """As `Kept.classes`."""
        return self.model.classes

    def validation(self) -> Validation:
        """As `Kept.validation`."""
        return validation_of(self.model.about.validation, self.model.file)

    def tree(self, file: Path | None) -> Taxonomy | None:
        """As `Kept.tree`."""
        return self.model.taxonomy if file is None else read_taxonomy(expanded(file), self.classes)

    def detector(self, reporter: Reporter) -> Detector:
        """As `Kept.detector`: there is none."""
        raise BadRequest("--unknown compares with the run's training images: name the run, not an exported file")


def validation_of(kept: Validated | None, file: Path) -> Validation:
    """The record in a file's metadata. BadRequest if it has none."""
    if kept is None:
        raise BadRequest(
            f"{file} has no validation images, and a threshold must not be chosen by others: "
            "train with --val-fraction 0.1 and export again"
        )
    from fgvc_cli.evaluation.certainty.validation import Validation  # it would delay predictions without thresholds

    columns = np.array(kept.confidence, dtype=np.float32), np.array(kept.right, dtype=np.uint8)
    return Validation(*columns, np.array(kept.score, dtype=np.float32), kept.images)
