"""Whether a run's model tells images of classes that it does not know: fitted once, kept in the run, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fgvc_cli.data.left_out import known_names
from fgvc_cli.data.splits import limit
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.evaluation.certainty.detector import Detector, Seen
from fgvc_cli.evaluation.certainty.openset import RECALL, measures
from fgvc_cli.evaluation.certainty.tiles import tile_pictures
from fgvc_cli.files import NotWritable, expanded, explained, write_atomically
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.look import Model, look
from fgvc_cli.inference.pictures import OnBad, Picture, find_pictures, split_pictures
from fgvc_cli.machine.tensor_files import DamagedError, read_metadata, read_tensors, write_tensors
from fgvc_cli.methods.base import BehindEmbedding
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.folder import RunFolder

LEFT_OUT = "left-out"
_BATCH = 4096  # embeddings that are classified at once
_TILED = 500  # validation images whose tiles are shuffled, spread over the classes
_VERSION = "3"  # changed whenever the same images give another detector


def seen(model: Model, pictures: Sequence[Picture], reporter: Reporter) -> Seen:
    """The model's logits and embeddings of images. ImageError for one that cannot be read."""
    return looked_at(model, pictures, reporter)[0]


@torch.inference_mode()
def looked_at(
    model: Model, pictures: Sequence[Picture], reporter: Reporter, on_bad: OnBad | None = None
) -> tuple[Seen, list[Picture]]:
    """The model's logits and embeddings of images, and the images that could be read.

    `on_bad` is called with each that cannot; None: the ImageError is raised.
    """
    method = model.trained.method
    if isinstance(method, BehindEmbedding):
        embeddings = Embedder.of_model(model).embed(pictures, reporter, on_bad=on_bad, shared=False).to(model.device)
        sound = embeddings.isfinite().all(1)
        embeddings = embeddings[sound]
        logits = [method.classify(part).logits for part in torch.split(embeddings, _BATCH)]
        there = [picture for picture, good in zip(pictures, sound.tolist(), strict=True) if good]
        return Seen(torch.cat(logits).float(), embeddings), there
    found: list[tuple[Tensor, Tensor]] = []
    there = []
    reporter.begin("looking at images", len(pictures))
    try:
        for batch in look(model, pictures, evidence=True, on_bad=on_bad):
            evidence = batch.output.evidence
            if evidence is None or evidence.embedding is None:
                raise BadRequest(f"method {model.spec.method.name} gives no embedding")
            found.append((batch.output.logits, evidence.embedding))
            there += batch.pictures
            reporter.advance(len(batch.pictures))
    finally:
        reporter.end()
    if not found:
        raise BadRequest("no image could be read")
    return Seen.joined(found), there


def open_detector(model: Model, reporter: Reporter, index: DatasetIndex | None = None) -> Detector:
    """The detector that the model's run keeps, else one that is fitted now and kept.

    Args:
        model: in a run folder.
        reporter: shows the progress of fitting.
        index: the run's data, if they are read already.

    Raises:
        BadRequest: the model is in no run folder, the run has no validation split, or its data are not found.
    """
    run = model.run
    if run is None:
        raise BadRequest(f"{model.file} is in no run folder: unknown classes need its training images")
    kept = _kept(run, model)
    if kept is not None:
        return kept
    detector = _fit(model, index or model.open_images(reporter.console).index, reporter)
    tensors, about = detector.state()
    try:
        with explained(str(run.unknown_file)):
            write_atomically(run.unknown_file, lambda path: write_tensors(path, tensors, about | _state_of(model)))
    except NotWritable as error:  # a run that is only to be read: it is fitted again next time
        reporter.line(f"note: not kept: {error}")
    return detector


def _fit(model: Model, index: DatasetIndex, reporter: Reporter) -> Detector:
    validation = _validation_of(index)
    train = seen(model, split_pictures(index, index.train, index.classes), reporter)
    val = seen(model, split_pictures(index, validation, index.classes), reporter)
    some = split_pictures(index, limit(validation, _TILED), index.classes)
    tiles = seen(model, tile_pictures(some, model.spec.data), reporter)
    labels, val_labels = (torch.from_numpy(split.labels).to(model.device) for split in (index.train, validation))
    return Detector.fitted(train, labels, val, val_labels, tiles, model.trained.temperature)


def _validation_of(index: DatasetIndex) -> Split:
    """The validation split. BadRequest: there is none."""
    if index.val is None or not len(index.val):
        raise BadRequest(
            "telling unknown classes needs a validation split, which chooses score and threshold: train with "
            "--val-fraction 0.1"
        )
    return index.val


def _kept(run: RunFolder, model: Model) -> Detector | None:
    """The kept one, if it is of the current model."""
    try:
        about = read_metadata(run.unknown_file)
        if {key: about.get(key) for key in _state_of(model)} != _state_of(model):
            return None
        return Detector.restored(read_tensors(run.unknown_file), about, model.device)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FgvcError(f"cannot read {run.unknown_file}: {error.strerror or error}") from None
    except (DamagedError, KeyError, TypeError, ValueError):
        return None  # it is fitted again


def _state_of(model: Model) -> dict[str, str]:
    """What tells one state of a run's model, and one way to choose, from another."""
    trained = model.trained
    return {
        "version": _VERSION,
        "epoch": str(trained.epoch),
        "temperature": repr(trained.temperature),
        "classes": "\n".join(trained.classes),
    }


def check_unknown(model: Model, index: DatasetIndex, name: str, what: str, reporter: Reporter) -> None:
    """Raise at once what `measure_unknown` would raise after minutes: BadRequest."""
    unknown_pictures(index, name, what, reporter)
    if model.run is None or _kept(model.run, model) is None:
        _validation_of(index)


def measure_unknown(
    model: Model,
    index: DatasetIndex,
    split: Split,
    name: str,
    what: str,
    reporter: Reporter,
    known: Seen | None = None,
) -> dict[str, Any]:
    """How well each score tells a split's images from unknown ones.

    Args:
        model: in a run folder.
        index: the run's data.
        split: its images of known classes.
        name: of the split.
        what: the unknown images: a folder, `left-out`, or names of left-out classes between commas.
        reporter: shows the progress.
        known: what the model says of the split's images, in order, if they were looked at already.

    Returns:
        `images`, `what`, `default` (the score that the validation split names), `recall`, and `scores`: name → what
        `openset.measures` gives and `validation`, the mean AUROC by which the default was chosen.
    """
    others = unknown_pictures(index, name, what, reporter)
    detector = open_detector(model, reporter, index)
    known = known or seen(model, split_pictures(index, split, index.classes), reporter)
    right = (known.logits.argmax(1).cpu() == torch.from_numpy(split.labels)).numpy()
    inside, outside = detector.scores(known), detector.scores(seen(model, others, reporter))
    found = {
        score: measures(inside[score], right, outside[score], detector.thresholds[score])
        | {"validation": detector.validation[score]}
        for score in inside
    }
    return {"images": len(others), "what": what, "default": detector.default, "recall": RECALL, "scores": found}


def unknown_pictures(index: DatasetIndex, split: str, what: str, reporter: Reporter) -> list[Picture]:
    """The unknown images that `what` names. BadRequest if it names none."""
    place = expanded(what)
    if what != LEFT_OUT and place.exists():
        return find_pictures([str(place)], note=lambda text: reporter.line(f"note: {text}"))
    if index.left_out is None:
        hint = "" if what == LEFT_OUT else f"there is no folder {what}, and "
        raise BadRequest(
            f"--unknown {what}: {hint}this run left no classes out (--leave-out): name a folder of other images"
        )
    apart = index.left_out.splits.get(split) or index.left_out.splits["test"]
    if what != LEFT_OUT:
        before = f"--unknown: there is no folder {what}, and among the classes that were left out "
        names = known_names([name.strip() for name in what.split(",")], index.left_out.classes, before)
        wanted = [index.left_out.classes.index(name) for name in names]
        apart = apart.take(torch.isin(torch.from_numpy(apart.labels), torch.tensor(wanted)).nonzero()[:, 0].numpy())
    if not len(apart):
        raise BadRequest(f"--unknown {what}: the {split} split has no image of these classes")
    return split_pictures(replace(index, classes=index.left_out.classes), apart, ())
