"""Fitting at once: a method whose spec is `at_once` is fitted to the embeddings of its frozen backbone."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import BadRequest
from fgvc_cli.evaluation.calibration import Calibrated
from fgvc_cli.evaluation.evaluate import evaluate
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.features.shown import embedded
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.machine.distributed import on_main
from fgvc_cli.machine.finite import check_tensors
from fgvc_cli.machine.interrupt import Stopped
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Behind, Labelled, Method, behind_embedding
from fgvc_cli.methods.sizes import check_image_size
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.checkpoint import save_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.journal import Journal, cost_of
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console
from fgvc_cli.training.features.embedding import labelled
from fgvc_cli.training.session import open_training_index, write_record

_EPOCH = 1  # there is but one


@dataclass
class Fitting:
    """A run in memory whose method is fitted at once."""

    run: RunFolder
    spec: RunSpec
    index: DatasetIndex
    method: Method
    device: torch.device
    notes: tuple[str, ...]

    @classmethod
    def build(cls, run: RunFolder, spec: RunSpec, console: Console, *, load_weights: bool) -> Fitting:
        """Read the data and build the method. BadRequest, before anything is written, if it cannot be fitted."""
        device = prepare_device(spec.train)
        index = open_training_index(run, spec, console)
        if load_weights:  # a run that has begun has this behind it
            check_image_size(spec, len(index.classes))
        if any(spec.regularise.level_weights):
            raise BadRequest(
                f"regularise.level_weights: {spec.method.name} is fitted at once, without losses of levels"
            )
        if len(set(index.train.labels.tolist())) < 2:
            raise BadRequest("the training images are all of one class: a classifier needs two")
        torch.manual_seed(spec.train.seed)
        method, notes = build_method(spec, len(index.classes), load_weights=load_weights, classes=index.classes)
        return cls(run, spec, index, method.to(device).eval(), device, tuple(notes))

    @property
    def finished(self) -> bool:
        """Whether the method is fitted and saved: its model is the last that is written."""
        return bool(on_main(self.run.model_file.is_file))

    def record(self) -> None:
        """Write what a new run keeps beside its spec: classes, splits that fgvc drew, environment."""
        write_record(self.run, self.spec.data, self.index, self.device)

    def fit(self, journal: Journal, reporter: Reporter) -> None:
        """Compute the embeddings that are not at hand, fit, write one row of metrics and the model."""
        started = time.monotonic()
        try:
            embedder = Embedder.of(self.method, self.spec, self.device)
            train = labelled(embedder, self.index, self.index.train, reporter, views=self.spec.backbone.views)
            val = None if self.index.val is None else labelled(embedder, self.index, self.index.val, reporter)
        except KeyboardInterrupt:
            raise Stopped(
                f"stopped; the features computed so far are kept: go on with fgvc train --resume {self.run.typed}"
            ) from None
        computed = time.monotonic()
        reporter.line(
            f"features of {len(self.index.train)} training images in {computed - started:.0f} s; fitting the classifier"
        )
        chosen, calibrated, state = on_main(lambda: self._fitted(train, val, reporter))
        self.method.load_state_dict(state)  # only the main process has fitted
        check_tensors(self.method.state_dict())
        row = {"epoch": 0, "step": 1, "lr": 0.0, **cost_of(started, self.device)}
        row |= self._measures("train", train.as_evaluated) | ({} if val is None else self._measures("val", val))
        fitted = time.monotonic() - computed
        journal.row(row)
        scalars = {name.replace("_", "/", 1): value for name, value in row.items() if "_" in name}
        journal.scalars(scalars | {f"fit/{name}": value for name, value in chosen.items()}, 1)
        on_main(lambda: self._save(row.get("val_top1"), calibrated))
        reporter.line(f"fitted in {fitted:.1f} s: train top1 {100 * row['train_top1']:.1f} %")
        if calibrated is not None:
            reporter.line(calibrated.line)

    def _fitted(
        self, train: Labelled, val: Labelled | None, reporter: Reporter
    ) -> tuple[dict[str, float], Calibrated | None, dict[str, Tensor]]:
        """What was chosen, what there is to calibrate by without a validation split, and the fitted method's state."""
        with torch.no_grad():
            chosen, unseen = behind_embedding(self.method).fit(train, val, reporter.line)
        labels = train.as_evaluated.labels.cpu()
        calibrated = None if unseen is None else Calibrated.of(unseen.float().cpu(), labels, _EPOCH, folds=True)
        return chosen, calibrated, self.method.state_dict()

    def _measures(self, name: str, images: Labelled) -> dict[str, float]:
        """Loss and accuracies on a split, named as in every run."""
        batches = embedded(images.embeddings, images.labels)
        classes = len(self.index.classes)
        quiet = Reporter(Console(quiet=True))
        result = evaluate(Behind(self.method), batches, self.spec, classes, self.device, quiet)
        measures = result["branches"]["final"]
        kept = measures if name == "val" else {"top1": measures["top1"]}
        return {f"{name}_loss": result["loss"], **{f"{name}_{key}": value for key, value in kept.items()}}

    def _save(self, score: float | None, calibrated: Calibrated | None) -> None:
        """Write the model last: with it the run is finished."""
        about = {
            "spec": self.spec.model_dump(mode="json"),
            "classes": list(self.index.classes),
            "epoch": _EPOCH,
            "val_top1": score,
            "ema": False,
        }
        if calibrated is not None:
            calibrated.save(self.run)
            about["temperature"] = calibrated.temperature
        save_model(self.run.model_file, self.method.state_dict(), about)
