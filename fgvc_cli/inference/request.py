"""What is asked of a trained model: on which images, how, and what is promised of its answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fgvc_cli.spec.build import validate
from fgvc_cli.spec.run import RunSpec


@dataclass(frozen=True)
class EvalRequest:
    """The settings of an evaluation. None of them changes the model."""

    split: str | None = None  # None: test, or all of new photos
    device: str | None = None
    precision: str | None = None
    batch_size: int | None = None
    workers: int | None = None
    root: Path | None = None
    compile: bool = False  # seldom worth the time, so the run's own setting applies to training only
    name: str | None = None  # `root` holds new photos, whose results are kept under this name
    localisation: bool | None = None  # None: unless no image needs to be shown, as the embeddings are kept
    retrieval: bool | None = None  # None: where the embeddings are kept anyway
    unknown_classes: str = "error"  # of new photos: error or skip
    target_precision: float | None = (
        None  # measure the answers above the threshold that the validation split has for it
    )
    unknown: str | None = None  # a folder of images of unknown classes, left-out, or names of classes left out
    taxonomy: Path | None = None  # CSV file of a tree of the classes, in the place of the run's own
    rollup: float | None = None  # probability that a taxon must have to be an answer; None: 0.9
    set_coverage: float | None = None  # measure prediction sets that hold the true class so often, 0..1


def with_request(spec: RunSpec, request: EvalRequest) -> RunSpec:
    """A run's spec with a request's changes. BadRequest with one line per invalid field."""
    data = {"workers": request.workers, "root": request.root}
    train = {"device": request.device, "precision": request.precision, "eval_batch_size": request.batch_size}
    tree = spec.model_dump()
    tree["data"] |= {key: value for key, value in data.items() if value is not None}
    tree["train"] |= {key: value for key, value in train.items() if value is not None}
    return validate(tree)
