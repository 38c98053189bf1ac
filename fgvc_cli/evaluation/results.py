"""The results that evaluation stores in a run's eval/ folder, and whether they are of the current model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.data.types import Split
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.evaluation.certainty.selective import RiskCoverage
from fgvc_cli.evaluation.confusion import Confusion, class_rows, worst_classes, write_classes
from fgvc_cli.evaluation.confusion_picture import draw_confusion
from fgvc_cli.evaluation.metrics import ClassCounts, Predicted
from fgvc_cli.evaluation.predictions import write_predictions
from fgvc_cli.files import make_folder, make_parent, write_json
from fgvc_cli.inference.new_photos import Named, kept_place
from fgvc_cli.runs.folder import RunFolder


def kept_result(run: RunFolder, about: Mapping[str, Any], images: Named) -> dict[str, Any]:
    """The stored result of `evaluate_run` on some images, if it is of the current model, which `about` describes.

    FgvcError, which says why, if there is none, it is damaged, or it is of another state of the model or other photos.
    """
    file = run.evaluation_file(images.name)
    if not file.exists():
        raise FgvcError(f"{run.path} has no measurement on {images.name} yet")
    result = run.evaluation(images.name)
    names = {name for pair in result.get("confusions", ()) for name in (pair["true"], pair["predicted"])}
    known = set(about["classes"])
    if result["classes"] != len(about["classes"]) or result["split"] != images.name or not names <= known:
        raise FgvcError(f"cannot read {file}: it is of other classes or of another split")
    if result["epoch"] != about["epoch"]:
        raise FgvcError(f"{file} is of epoch {result['epoch']}, but the run's model is now of epoch {about['epoch']}")
    if (result.get("calibration") or {}).get("temperature", 1.0) != about.get("temperature", 1.0):
        raise FgvcError(f"{file} was measured before the model was calibrated")
    if any(result.get(key) != value for key, value in (images.new or {}).items()):
        raise FgvcError(f"{file} is of other photos")
    return result | {"run": str(run.path)}  # the folder may have been renamed or copied since


def must_be_free(run: RunFolder, images: Named) -> None:
    """BadRequest if new photos have the name of the results of photos in another place."""
    other = None if images.new is None else kept_place(run, images.name)
    if images.new is not None and other is not None and str(other) != images.new["data"]:
        raise BadRequest(f"eval/{images.name}.json has the results of {other}: give these photos another --name")


def write_tables(
    json_file: Path,
    split: Split,
    classes: tuple[str, ...],
    counts: ClassCounts,
    predicted: Predicted,
    tree: Taxonomy | None,
) -> dict[str, Path]:
    """Write the files beside NAME.json. Returns them by name."""
    files = {
        "classes": json_file.with_name(f"{json_file.stem}-classes.csv"),
        "confusion": json_file.with_name(f"{json_file.stem}-confusion.csv"),
        "predictions": json_file.with_name(f"{json_file.stem}-predictions.csv"),
        "picture": json_file.with_name(f"{json_file.stem}-confusion.png"),
        "selective": json_file.with_name(f"{json_file.stem}-selective.csv"),
        "selective_picture": json_file.with_name(f"{json_file.stem}-selective.png"),
    }
    confusion = Confusion.of(classes, predicted)
    write_classes(files["classes"], class_rows(classes, counts))
    confusion.write(files["confusion"])
    write_predictions(files["predictions"], split, classes, predicted)
    draw_confusion(files["picture"], confusion, tree)
    curve = RiskCoverage.of(predicted.calibrated, predicted.labels == predicted.classes)
    curve.write(files["selective"])
    curve.draw(files["selective_picture"])
    return files


def worst_of(classes: tuple[str, ...], counts: ClassCounts, predicted: Predicted) -> dict[str, Any]:
    """The worst confusions and the worst classes."""
    rows = class_rows(classes, counts)
    return {"confusions": Confusion.of(classes, predicted).worst(), "worst_classes": worst_classes(rows)}


@dataclass(frozen=True)
class Measured:
    """What was measured on a split of a run or on new photos, and the counts behind it."""

    result: dict[str, Any]  # what NAME.json holds, without the names of the files; NAME is `result["split"]`
    split: Split
    classes: tuple[str, ...]
    counts: ClassCounts
    predicted: Predicted
    tree: Taxonomy | None = None  # of the classes

    def save(self, run: RunFolder, out: Path | None = None) -> dict[str, Any]:
        """Write NAME.json and the files of `write_tables` into eval/ or `out`.

        NAME is that of the split or of the new photos.

        Returns:
            the content of NAME.json.

        Raises:
            FgvcError: they cannot be written, or the run's folder is gone.
        """
        json_file = run.evaluation_file(self.result["split"]) if out is None else out / f"{self.result['split']}.json"
        if out is not None:
            make_parent(json_file)
        make_folder(json_file.parent)
        files = write_tables(json_file, self.split, self.classes, self.counts, self.predicted, self.tree)
        home = run.path if out is None else out
        whole = self.result | {"files": {name: file.relative_to(home).as_posix() for name, file in files.items()}}
        write_json(json_file, whole)
        return whole
