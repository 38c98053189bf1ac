"""An exported file in the place of a run: what can be asked of it. Needs no PyTorch."""

from __future__ import annotations

from pathlib import Path

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.exported import Exported, open_exported
from fgvc_cli.predict.answers import Answering
from fgvc_cli.predict.asked import PredictRequest, answers_of
from fgvc_cli.predict.kept import OfExport
from fgvc_cli.progress import Reporter

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
