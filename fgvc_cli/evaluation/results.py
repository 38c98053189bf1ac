"""The results that evaluation stores in a run's eval/ folder, and whether they are of the current model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.confusion import Confusion, class_rows, worst_classes, write_classes
from fgvc_cli.evaluation.confusion_picture import draw_confusion
from fgvc_cli.evaluation.metrics import ClassCounts, Predicted
from fgvc_cli.runs.folder import RunFolder


def kept_result(run: RunFolder, about: Mapping[str, Any], split: str) -> dict[str, Any]:
    """The stored result of `evaluate_run` on a split, if it is of the current model, which `about` describes.

    FgvcError, which says why, if there is none, it is damaged, or it is of another state of the model.
    """
    file = run.evaluation_file(split)
    if not file.exists():
        raise FgvcError(f"{run.path} has no measurement on {split} yet")
    result = run.evaluation(split)
    names = {name for pair in result.get("confusions", ()) for name in (pair["true"], pair["predicted"])}
    if result["classes"] != len(about["classes"]) or result["split"] != split or not names <= set(about["classes"]):
        raise FgvcError(f"cannot read {file}: it is of other classes or of another split")
    if result["epoch"] != about["epoch"]:
        raise FgvcError(f"{file} is of epoch {result['epoch']}, but the run's model is now of epoch {about['epoch']}")
    if (result.get("calibration") or {}).get("temperature", 1.0) != about.get("temperature", 1.0):
        raise FgvcError(f"{file} was measured before the model was calibrated")
    return result


def write_tables(
    json_file: Path, classes: tuple[str, ...], counts: ClassCounts, predicted: Predicted
) -> dict[str, Path]:
    """Write the files beside SPLIT.json. Returns them by name."""
    files = {
        "classes": json_file.with_name(f"{json_file.stem}-classes.csv"),
        "confusion": json_file.with_name(f"{json_file.stem}-confusion.csv"),
        "picture": json_file.with_name(f"{json_file.stem}-confusion.png"),
    }
    confusion = Confusion.of(classes, predicted)
    write_classes(files["classes"], class_rows(classes, counts))
    confusion.write(files["confusion"])
    draw_confusion(files["picture"], confusion)
    return files


def worst_of(classes: tuple[str, ...], counts: ClassCounts, predicted: Predicted) -> dict[str, Any]:
    """The worst confusions and the worst classes."""
    rows = class_rows(classes, counts)
    return {"confusions": Confusion.of(classes, predicted).worst(), "worst_classes": worst_classes(rows)}
