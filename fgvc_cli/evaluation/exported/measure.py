"""Measures of an exported file on labelled images, equal to those of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.splits import apply_spec
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.evaluation.certainty.selective import selective
from fgvc_cli.evaluation.certainty.validation import Validation
from fgvc_cli.evaluation.metrics import ClassCounts, Floats, Integers, Predicted
from fgvc_cli.evaluation.results import Measured, worst_of
from fgvc_cli.inference.exported import Exported
from fgvc_cli.inference.new_photos import OWN_SPLIT, Named, photos_at
from fgvc_cli.inference.pictures import split_pictures
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.progress import Reporter, progress_of
from fgvc_cli.terminal import Console


@dataclass(frozen=True)
class Labelled:
    """Images of known class."""

    named: Named
    index: DatasetIndex
    split: Split
    left_out: Mapping[str, int] = field(default_factory=dict)  # images of unknown classes, by class


def labelled_images(model: Exported, request: EvalRequest, console: Console) -> Labelled:
    """The photos at the request's `root`, or a split of the data that the model's run had.

    Raises:
        BadRequest: they cannot be used, or fgvc itself drew that split: only the run's folder knows which images are
            in it.
    """
    if request.root is not None:
        photos = photos_at(request.root, model.spec.data, model.classes, request.name)
        index, left_out = photos.index(model.classes, request, console)
        found = Labelled(Named(photos.name, photos.facts), index, index.test, left_out)
    else:
        found = _own(model, request, console)
    for note in found.index.notes:
        console.note(note)
    return found


def _own(model: Exported, request: EvalRequest, console: Console) -> Labelled:
    data, name = model.spec.data, request.split or OWN_SPLIT
    index = load_index(data, progress=progress_of(console))
    if index.drawn or name not in index.splits():
        raise BadRequest(
            f"{model.name}: fgvc drew the run's {name} split, and which images are in it is kept in the run: "
            "name the run, or labelled photos with --data-dir"
        )
    index = apply_spec(index, data)
    if index.classes != model.classes:
        raise BadRequest(f"the classes at {index.root} are not those of {model.name}: name labelled photos")
    return Labelled(Named(name), index, index.split(name))


def measure_exported(
    model: Exported, request: EvalRequest, console: Console, validation: Validation | None = None
) -> Measured:
    """Accuracy, calibration, confusions of an exported file; nothing is written.

    Args:
        model: the file.
        request: its images; `target_precision` counts as well.
        console: shows the progress.
        validation: by which a threshold for the target precision is chosen.
    """
    images = labelled_images(model, request, console)
    probabilities, labels, index = _shown(model, images, Reporter(console))
    predicted, loss = _predicted(probabilities, labels, index, model.temperature)
    counts = _counts(predicted, len(model.classes))
    within = np.argsort(-probabilities, axis=1, kind="stable")[:, : min(5, len(model.classes))]
    top5 = float((within == labels[:, None]).any(1).mean())
    measures = counts.measures()
    result: dict[str, Any] = {"run": str(model.file), "split": images.named.name, "method": model.spec.method.name}
    result |= {"epoch": model.epoch, "dataset": images.index.name, "classes": len(model.classes)}
    result |= {} if images.named.new is None else {**images.named.new, "left_out": dict(images.left_out)}
    result |= {"images": len(labels), "loss": loss}
    result["branches"] = {"final": {"top1": measures.pop("top1"), "top5": top5, **measures}}
    result["calibration"] = predicted.calibration(model.temperature)
    result |= selective(predicted, _target(request, validation))
    result |= worst_of(model.classes, counts, predicted)
    return Measured(result, images.split, model.classes, counts, predicted, model.taxonomy)


def _shown(model: Exported, images: Labelled, reporter: Reporter) -> tuple[Floats, Integers, Integers]:
    """Probabilities (N, K), labels and positions (N,)."""
    pictures = split_pictures(images.index, images.split, model.classes)
    parts, reached = [], 0
    reporter.begin(f"evaluating on {images.named.name}", len(pictures))
    try:
        for one in model.answer(pictures):
            parts.append(one.probabilities)
            reached += len(one.pictures)
            for _ in one.pictures:
                reporter.advance(1)
    finally:
        reporter.end()
    labels = np.array([picture.label for picture in pictures], dtype=np.int64)
    return np.concatenate(parts).astype(np.float64), labels, np.arange(reached)


def _predicted(probabilities: Floats, labels: Integers, index: Integers, temperature: float) -> tuple[Predicted, float]:
    """The predictions, and the mean cross entropy before the temperature, as a run has it.

    A file gives p = softmax(z / T) alone; softmax(T · log p) is softmax(z).
    """
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)) * temperature
    logs -= logs.max(1, keepdims=True)
    plain = np.exp(logs)
    total = plain.sum(1)
    best = probabilities.argmax(1)
    rows = np.arange(len(labels))
    loss = float((np.log(total) - logs[rows, labels]).mean())
    return Predicted(index, labels, best, plain[rows, best] / total, probabilities[rows, best]), loss


def _counts(predicted: Predicted, classes: int) -> ClassCounts:
    right = predicted.classes == predicted.labels
    columns = (predicted.labels[right], predicted.classes, predicted.labels)
    return ClassCounts(*(np.bincount(column, minlength=classes).astype(np.int64) for column in columns))


def _target(request: EvalRequest, validation: Validation | None) -> dict[str, Any] | None:
    asked = request.target_precision
    return None if asked is None or validation is None else validation.target(asked)
