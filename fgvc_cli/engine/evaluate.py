"""A trained model measured on a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.nn import functional as F

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.loader import Loader, make_loader, to_device
from fgvc_cli.data.splits import apply_record, apply_spec, limit
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.engine.checkpoint import load_model
from fgvc_cli.engine.device import autocast, prepare_device
from fgvc_cli.engine.files import write_json
from fgvc_cli.engine.localisation import Localisation, mean_box
from fgvc_cli.engine.log import Reporter
from fgvc_cli.engine.metrics import BranchMetrics
from fgvc_cli.engine.runfolder import RunFolder
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Method
from fgvc_cli.spec.build import validate
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.spec.run import RunSpec

MEAN_BOX_IMAGES = 2000


@dataclass(frozen=True)
class Trained:
    """A model read back from a file: it alone predicts."""

    method: Method
    spec: RunSpec
    classes: tuple[str, ...]
    epoch: int  # epochs it was trained for


def load_trained(file: Path) -> Trained:
    """Build the method that `file` was saved from and fill in its weights. Nothing is fetched."""
    weights, about = load_model(file)
    spec = validate(about["spec"])
    classes = tuple(about["classes"])
    method, _ = build_method(spec, len(classes), load_weights=False)
    method.load_state_dict(weights)
    method.on_epoch(max(about["epoch"] - 1, 0), spec.train.epochs)
    return Trained(method.eval(), spec, classes, about["epoch"])


def evaluate(
    method: Method,
    loader: Loader,
    spec: RunSpec,
    classes: int,
    device: torch.device,
    reporter: Reporter,
    located: Localisation | None = None,
) -> dict[str, Any]:
    """Measures of every branch over a loader's images, each counted once.

    Returns:
        images, loss (cross entropy of the final prediction) and `branches`: name → top1, top5, mean_per_class in
        0..1; `final` is the method's prediction. With `located` also `localisation`, as Localisation.compute has it.
    """
    metrics = BranchMetrics(classes)
    losses = torch.zeros((), device=device)
    images = 0
    method.eval()
    with torch.inference_mode():
        for batch in loader.epoch(0):
            batch = to_device(batch, device, spec.data.mean, spec.data.std)
            with autocast(device, spec.train.precision):
                output = method(batch.images, evidence=located is not None)
            metrics.update({"final": output.logits, **output.branches}, batch.labels)
            losses += F.cross_entropy(output.logits.float(), batch.labels, reduction="sum")
            if located is not None and output.evidence is not None:
                located.update(output.evidence, batch)
            images += len(batch.labels)
            reporter.advance(len(batch.labels))
    result = {"images": images, "loss": float(losses) / images, "branches": metrics.compute()}
    return result | ({} if located is None else {"localisation": located.compute()})


@dataclass(frozen=True)
class EvalRequest:
    """What `fgvc eval` may change: none of it changes what the model is."""

    split: str = "test"
    device: str | None = None
    precision: str | None = None
    batch_size: int | None = None
    workers: int | None = None
    root: Path | None = None


def evaluate_run(run: RunFolder, request: EvalRequest, console: Console) -> dict[str, Any]:
    """Evaluate a run's selected model on one of its splits and keep the result in the run's eval/ folder."""
    trained = load_trained(run.model_file)
    spec = _with_request(trained.spec, request)
    device = prepare_device(spec.train)
    index = open_index(run, spec.data, console)
    _same_classes(trained.classes, index)
    try:
        split = index.split(request.split)
    except KeyError:
        raise BadRequest(f"{run.path} has no {request.split} split; --val-fraction holds one out of train") from None
    loader = evaluation_loader(index, split, spec, device)
    located = _localisation(index, spec, device) if split.boxes is not None else None
    method = trained.method.to(device).to(memory_format=torch.channels_last)
    reporter = Reporter(console)
    reporter.begin(f"evaluating on {request.split}", len(loader))
    try:
        result = evaluate(method, loader, spec, len(trained.classes), device, reporter, located)
    finally:
        reporter.end()
    about = {"run": str(run.path), "split": request.split, "method": spec.method.name, "epoch": trained.epoch}
    result = {**about, "dataset": spec.data.dataset, "classes": len(trained.classes), **result}
    write_json(run.evaluation_file(request.split), result)
    return result


def open_index(run: RunFolder, data: DataSpec, console: Console) -> DatasetIndex:
    """The dataset as this run sees it: its own splits where fgvc drew them, its limits."""
    index = load_index(data, progress=_preparing(console))
    record = run.path / "splits.json"
    index = apply_record(index, run.read_json(record.name)) if record.exists() else apply_spec(index, data)
    for note in index.notes:
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    return index


def _preparing(console: Console) -> Callable[[int, int], None]:
    """Progress of data that are made on first use."""
    reporter = Reporter(console)

    def progress(done: int, total: int) -> None:
        if done == 1:
            reporter.line("drawing the images of the demo, once")
            reporter.begin("drawing", total)
        reporter.advance(1)
        if done == total:
            reporter.end()

    return progress


def evaluation_loader(index: DatasetIndex, split: Split, spec: RunSpec, device: torch.device) -> Loader:
    """Every image of a split, in order, nothing random."""
    size = spec.train.eval_batch_size or spec.train.batch_size
    return make_loader(index, split, spec.data, batch_size=size, train=False, device=device)


def _localisation(index: DatasetIndex, spec: RunSpec, device: torch.device) -> Localisation:
    """Measures of boxes, beside the mean training box (of at most MEAN_BOX_IMAGES images, spread over the classes)."""
    sample = evaluation_loader(index, limit(index.train, MEAN_BOX_IMAGES), spec, device)
    return Localisation(mean_box(sample.epoch(0), device))


def _with_request(spec: RunSpec, request: EvalRequest) -> RunSpec:
    data = {"workers": request.workers, "root": request.root}
    train = {"device": request.device, "precision": request.precision, "eval_batch_size": request.batch_size}
    tree = spec.model_dump()
    tree["data"] |= {key: value for key, value in data.items() if value is not None}
    tree["train"] |= {key: value for key, value in train.items() if value is not None}
    return validate(tree)


def _same_classes(trained: tuple[str, ...], index: DatasetIndex) -> None:
    if trained == index.classes:
        return
    odd = sorted(set(trained) ^ set(index.classes))
    hint = f"{len(odd)} differ, for example {odd[0]!r}" if odd else "the same names in another order"
    raise BadRequest(
        f"the classes at {index.root} are not those the model was trained on ({hint}): point --data-dir at its data"
    )
