"""The results that evaluation stores in a run's eval/ folder, and whether they are of the current model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fgvc_cli.data.types import Split
from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.confusion import Confusion, class_rows, worst_classes, write_classes
from fgvc_cli.evaluation.confusion_picture import draw_confusion
from fgvc_cli.evaluation.metrics import ClassCounts, Predicted
from fgvc_cli.evaluation.predictions import write_predictions
from fgvc_cli.runs.folder import RunFolder


def kept_result(run: RunFolder, about: Mapping[str, Any], split: str) -> dict[str, Any]:
    """The stored result of `evaluate_run` on a split, if it is of the current model, which `about` describes.

    FgvcError, which says why, if there is none, it is damaged, or it is of another state of the model.
    """
    file = run.evaluation_file(split)
    if not file.exists():
        raise FgvcError(f"{run.path} has no measurement on {split} yet")
    try:
        result = dict(run.read_json(f"eval/{file.name}"))
        epoch, final, images = result["epoch"], result["branches"]["final"], result["images"]
        {key: float(final[key]) for key in ("top1", "top5", "mean_per_class")}, int(images)
    except (KeyError, TypeError, ValueError):
        raise FgvcError(f"{file} is damaged") from None
    if epoch != about["epoch"]:
        raise FgvcError(f"{file} is of epoch {epoch}, but the run's model is now of epoch {about['epoch']}")
    if result.get("calibration", {}).get("temperature", 1.0) != about.get("temperature", 1.0):
        raise FgvcError(f"{file} was measured before the model was calibrated")
    return result | {"run": str(run.path)}  # the folder may have been renamed or copied since


def write_tables(
    run: RunFolder, name: str, split: Split, classes: tuple[str, ...], counts: ClassCounts, predicted: Predicted
) -> dict[str, Any]:
    """Write the files beside SPLIT.json. Returns their names, the worst confusions and the worst classes."""
    json_file = run.evaluation_file(name)
    files = {
        "classes": json_file.with_name(f"{name}-classes.csv"),
        "confusion": json_file.with_name(f"{name}-confusion.csv"),
        "predictions": json_file.with_name(f"{name}-predictions.csv"),
        "picture": json_file.with_name(f"{name}-confusion.png"),
    }
    rows = class_rows(classes, counts)
    confusion = Confusion.of(classes, predicted)
    write_classes(files["classes"], rows)
    confusion.write(files["confusion"])
    write_predictions(files["predictions"], split, classes, predicted)
    draw_confusion(files["picture"], confusion)
    return {
        "confusions": confusion.worst(),
        "worst_classes": worst_classes(rows),
        "files": {name: file.relative_to(run.path).as_posix() for name, file in files.items()},
    }
