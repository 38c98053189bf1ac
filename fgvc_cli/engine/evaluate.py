"""A trained model measured on a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F

from fgvc_cli.data.cache import Squares
from fgvc_cli.data.check import examine
from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.loader import Loader, make_loader, to_device
from fgvc_cli.data.splits import apply_record, apply_spec, limit
from fgvc_cli.data.types import Batch, DatasetIndex, Split
from fgvc_cli.engine.checkpoint import load_model
from fgvc_cli.engine.compiling import Compiled, check_compiler, told
from fgvc_cli.engine.confusion import Confusion, class_rows, worst_classes, write_classes
from fgvc_cli.engine.confusion_picture import draw_confusion
from fgvc_cli.engine.device import autocast, prepare_device
from fgvc_cli.engine.distributed import gathered, on_main, total, world
from fgvc_cli.engine.folding import fold_batch_norm
from fgvc_cli.engine.localisation import Localisation, TellingParts, mean_box
from fgvc_cli.engine.log import Reporter
from fgvc_cli.engine.metrics import BranchMetrics, ClassCounts, Predicted, Predictions
from fgvc_cli.engine.runfolder import RunFolder
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import write_json
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Method, Output
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
    temperature: float = 1.0  # the softmax of the final logits over it is the calibrated prediction


def load_trained(file: Path) -> Trained:
    """Build the method that `file` was saved from and fill in its weights. Nothing is fetched."""
    weights, about = load_model(file)
    spec = validate(about["spec"])
    classes = tuple(about["classes"])
    method, _ = build_method(spec, len(classes), load_weights=False)
    method.load_state_dict(weights)
    method.on_epoch(max(about["epoch"] - 1, 0), spec.train.epochs)
    return Trained(method.eval(), spec, classes, about["epoch"], about.get("temperature", 1.0))


def make_ready(trained: Trained, device: torch.device) -> None:
    """Bring a trained model, in place, to the device it is to answer on, in the form that is quickest there.

    From then on it can neither be trained nor saved: its BatchNorm layers are folded into the convolutions.
    """
    fold_batch_norm(trained.method)
    trained.method.to(device).to(memory_format=torch.channels_last)


class Measures:
    """What is measured in one pass over a split.

    Args:
        classes: K.
        device: where it is counted.
        located: measures of boxes and maps, where true boxes are known.
        temperature: of the calibrated prediction.
    """

    def __init__(
        self, classes: int, device: torch.device, located: Localisation | None = None, temperature: float = 1.0
    ) -> None:
        self.branches = BranchMetrics(classes)
        self.predictions = Predictions(temperature).to(device)
        self.located = located
        self.loss = torch.zeros((), device=device)
        self.images = 0

    def update(self, output: Output, batch: Batch) -> None:
        """Count a batch. No value is read from the device."""
        self.branches.update({"final": output.logits, **output.branches}, batch.labels)
        self.predictions.update(output.logits, batch.labels)
        self.loss += F.cross_entropy(output.logits.float(), batch.labels, reduction="sum")
        if self.located is not None and output.evidence is not None:
            self.located.update(output.evidence, batch, output.logits)
        self.images += len(batch.labels)

    def compute(self) -> dict[str, Any]:
        """What `evaluate` returns; of several processes all have to ask, and all are told."""
        images = sum(gathered(self.images))
        result = {
            "images": images,
            "loss": float(total(self.loss)) / images,
            "branches": self.branches.compute(),
            "calibration": self.predictions.read().calibration(self.predictions.temperature),
        }
        return result | ({} if self.located is None else {"localisation": self.located.compute()})


def evaluate(
    method: nn.Module,
    loader: Loader,
    spec: RunSpec,
    classes: int,
    device: torch.device,
    reporter: Reporter,
    located: Localisation | None = None,
) -> dict[str, Any]:
    """Measures of every branch over a loader's images, each counted once.

    Returns:
        images, loss (cross entropy of the final prediction), `branches`: name → top1, top5, mean_per_class, macro_f1
        in 0..1, where `final` is the method's prediction, and `calibration` of that one: ece (0..1). With `located`
        also `localisation`, as Localisation.compute has it.
    """
    measures = Measures(classes, device, located)
    run_through(method, loader, spec, device, reporter, measures)
    return measures.compute()


def run_through(
    method: nn.Module, loader: Loader, spec: RunSpec, device: torch.device, reporter: Reporter, measures: Measures
) -> None:
    """One pass of a method, compiled or not, over a loader's images, counted in `measures`."""
    method.eval()  # also within what is compiled
    with torch.inference_mode():
        for batch in loader.epoch(0):
            fresh = isinstance(method, Compiled) and method.fresh
            with told(fresh, "the network", reporter):
                batch = to_device(batch, device, spec.data.mean, spec.data.std)
                with autocast(device, spec.train.precision):
                    output = method(batch.images, evidence=measures.located is not None)
                measures.update(output, batch)
                reporter.advance(len(batch.labels))


@dataclass(frozen=True)
class EvalRequest:
    """What `fgvc eval` may change: none of it changes what the model is."""

    split: str = "test"
    device: str | None = None
    precision: str | None = None
    batch_size: int | None = None
    workers: int | None = None
    root: Path | None = None
    compile: bool = False  # seldom worth it, so the run's own setting counts for its training only


@dataclass(frozen=True)
class Opened:
    """A run's selected model, on its device, and the data it was trained on."""

    trained: Trained
    spec: RunSpec  # with what the request changes
    device: torch.device
    index: DatasetIndex


def open_trained(run: RunFolder, request: EvalRequest, console: Console, index: DatasetIndex | None = None) -> Opened:
    """Read a run's selected model and, unless given, its data. BadRequest where the classes are others."""
    trained = load_trained(run.model_file)
    spec = with_request(trained.spec, request)
    device = prepare_device(spec.train)
    if request.compile:
        check_compiler(device)
    index = open_index(run, spec.data, console) if index is None else index
    _same_classes(trained.classes, index)
    make_ready(trained, device)
    return Opened(trained, spec, device, index)


def evaluate_run(
    run: RunFolder, request: EvalRequest, console: Console, index: DatasetIndex | None = None
) -> dict[str, Any]:
    """Evaluate a run's selected model on one of its splits and keep the result in the run's eval/ folder.

    The run's data are read unless `index` already holds them.

    Beside SPLIT.json, which is what is returned, these are SPLIT-classes.csv, SPLIT-confusion.csv and its picture.
    """
    opened = open_trained(run, request, console, index)
    trained, spec, device = opened.trained, opened.spec, opened.device
    method = Compiled(trained.method) if request.compile else trained.method
    split = split_of(run, opened.index, request.split)
    loader = evaluation_loader(opened.index, split, spec, device)
    located = _localisation(opened.index, split, spec, device)
    measures = Measures(len(trained.classes), device, located, trained.temperature)
    reporter = Reporter(console)
    reporter.begin(f"evaluating on {request.split}", len(loader))
    try:
        run_through(method, loader, spec, device, reporter, measures)
    finally:
        reporter.end()
    about = {"run": str(run.path), "split": request.split, "method": spec.method.name, "epoch": trained.epoch}
    about |= {"dataset": spec.data.dataset, "classes": len(trained.classes)}
    result, counts, predicted = {**about, **measures.compute()}, measures.branches.counts(), measures.predictions.read()

    def write() -> dict[str, Any]:
        whole = result | _write_tables(run, request.split, trained.classes, counts, predicted)
        write_json(run.evaluation_file(request.split), whole)
        return whole

    return on_main(write)


class NoSplitError(BadRequest):
    """A run has no split of that name."""


def kept_result(run: RunFolder, about: Mapping[str, Any], split: str) -> dict[str, Any]:
    """What `evaluate_run` kept of a split, if it is of the model that is there now, which `about` tells of.

    FgvcError, which says why, where there is none, it is damaged, or it is of another state of the model.
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
        raise FgvcError(f"{file} is of epoch {epoch}, the model there is now of epoch {about['epoch']}")
    if result.get("calibration", {}).get("temperature", 1.0) != about.get("temperature", 1.0):
        raise FgvcError(f"{file} is from before the model was calibrated")
    return result


def split_of(run: RunFolder, index: DatasetIndex, name: str) -> Split:
    """A split of a run's data by name. NoSplitError where the run has none of that name."""
    try:
        return index.split(name)
    except KeyError:
        raise NoSplitError(f"{run.path} has no {name} split; --val-fraction holds one out of train") from None


def _write_tables(
    run: RunFolder, split: str, classes: tuple[str, ...], counts: ClassCounts, predicted: Predicted
) -> dict[str, Any]:
    """Write the files beside SPLIT.json; their names, and the worst of what is in them."""
    json_file = run.evaluation_file(split)
    files = {
        "classes": json_file.with_name(f"{split}-classes.csv"),
        "confusion": json_file.with_name(f"{split}-confusion.csv"),
        "picture": json_file.with_name(f"{split}-confusion.png"),
    }
    rows = class_rows(classes, counts)
    confusion = Confusion.of(classes, predicted)
    write_classes(files["classes"], rows)
    confusion.write(files["confusion"])
    draw_confusion(files["picture"], confusion)
    return {
        "confusions": confusion.worst(),
        "worst_classes": worst_classes(rows),
        "files": {name: file.relative_to(run.path).as_posix() for name, file in files.items()},
    }


def open_index(run: RunFolder, data: DataSpec, console: Console) -> DatasetIndex:
    """The dataset as this run sees it: its own splits where fgvc drew them, its limits."""
    record = run.path / "splits.json"
    recorded = record.exists()
    # A record says who is in which split: the groups that it was drawn by may be gone.
    index = load_index(data.model_copy(update={"group_by": None}) if recorded else data, progress=looking(console))
    index = apply_record(index, run.read_json(record.name)) if recorded else apply_spec(index, data)
    index = examine(index, data, recorded=recorded, progress=looking(console))
    for note in index.notes:
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    return index


def looking(console: Console, note: str = ", once") -> Callable[[str, int, int], None]:
    """Progress of a first look at many images, and of data that are made on first use; of no steps: a line.

    `note` stands behind what it is.
    """
    reporter = Reporter(console)

    def progress(what: str, done: int, total: int) -> None:
        if done == 0:
            reporter.line(f"{what}{note}" if total else what)
            if total:
                reporter.begin(what, total)
        else:
            reporter.advance(1)
        if done == total:
            reporter.end()

    return progress


def evaluation_loader(
    index: DatasetIndex,
    split: Split,
    spec: RunSpec,
    device: torch.device,
    *,
    shared: bool = True,
    squares: Squares | None = None,
) -> Loader:
    """Every image of a split, in order, nothing random; shared by the processes of a run unless each wants all.

    Taken from `squares` where they are kept.
    """
    size = spec.train.eval_batch_size or spec.train.batch_size
    here = world()
    shard = (here.rank, here.size) if shared else (0, 1)
    size = max(size, shard[1])
    return make_loader(
        index, split, spec.data, batch_size=size, train=False, device=device, shard=shard, squares=squares
    )


def _localisation(index: DatasetIndex, split: Split, spec: RunSpec, device: torch.device) -> Localisation | None:
    """Measures of boxes and maps, where true boxes are known.

    Beside them stands the mean training box, of at most MEAN_BOX_IMAGES images spread over the classes.
    """
    if split.boxes is None:
        return None
    sample = evaluation_loader(index, limit(index.train, MEAN_BOX_IMAGES), spec, device, shared=False)
    return Localisation(mean_box(sample.epoch(0), device), TellingParts.of(index, split, device))


def with_request(spec: RunSpec, request: EvalRequest) -> RunSpec:
    """A run's spec with what a request changes. BadRequest in one line a wrong field."""
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
