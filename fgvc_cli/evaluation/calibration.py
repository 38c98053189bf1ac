"""Temperature scaling: one number, fitted on images that were not trained on, that calibrates a model's confidence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fgvc_cli.data.loading.to_device import to_device
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.certainty.validation import Validation, open_validation
from fgvc_cli.evaluation.metrics import calibration_error
from fgvc_cli.files import write_json
from fgvc_cli.inference.features.batches import Batches
from fgvc_cli.inference.features.shown import shown
from fgvc_cli.inference.opened import Opened, open_trained
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.machine.device import autocast
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.checkpoint import about_model, load_model, save_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console

_LOWEST, _HIGHEST = 0.01, 100.0
_HALVINGS = 45  # of the interval of log T: to 3e-13
_FLOOR = -1e30  # replaces log probabilities of -inf, whose product with a probability of 0 would be nan
_CHUNK = 2**22  # logits that are converted to float64 at once: 32 MB


def calibrate_run(run: RunFolder, request: EvalRequest, index: DatasetIndex, console: Console) -> dict[str, Any] | None:
    """Fit a temperature to the run's selected model on the validation split and store it; None without that split.

    It is written into the metadata of model.safetensors, then what the model says of the images to
    validation.safetensors, then the temperature to calibration.json, each atomically. If all are there already, nothing
    is done, so a resumed run may call this again. The weights do not change.
    `request` gives the device and the number of worker processes; its split is ignored.
    """
    if index.val is None:
        return None
    done = _done(run)
    if done is not None:
        return done
    opened = open_trained(run, request, console, index)
    reporter = Reporter(console)
    method, loader = shown(run, opened, index, index.val, reporter, shared=False)
    logits, labels = _predict(method, opened, loader, reporter)
    found = Calibrated.of(logits, labels, opened.trained.epoch)
    weights, about = load_model(run.model_file)
    save_model(run.model_file, weights, about | {"temperature": found.temperature})
    found.save(run)
    console.print(found.line)
    return found.result


@dataclass(frozen=True)
class Calibrated:
    """What is learnt from the answers to images that a model was not trained on."""

    result: dict[str, Any]  # as in calibration.json
    validation: Validation

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, epoch: int, *, folds: bool = False) -> Calibrated:
        """Of (N, K) logits and (N,) labels on the CPU: of the validation split, or of training images by folds."""
        about = {"split": "train" if folds else "val", "by_folds": folds, "images": len(labels), "epoch": epoch}
        result = about | fit(logits, labels)
        return cls(result, Validation.of(logits, labels, result["temperature"], folds=folds))

    @property
    def temperature(self) -> float:
        """Of the model."""
        return float(self.result["temperature"])

    def save(self, run: RunFolder) -> None:
        """Write both files into the run, each complete or not at all."""
        self.validation.save(run, self.result["epoch"], self.temperature)
        write_json(run.calibration_file, self.result)

    @property
    def line(self) -> str:
        """What the user is told."""
        images = f"{self.result['images']} {self.validation.images}"
        if not self.result["fitted"]:
            return f"no temperature fits the {images} (too few, or all are right): it stays 1"
        before, after = 100 * self.result["ece_before"], 100 * self.result["ece_after"]
        return (
            f"temperature {self.temperature:.3f}, fitted on {images}: "
            f"calibration error {before:.2f} % before, {after:.2f} % after"
        )


def fit(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """The temperature of (N, K) logits and (N,) labels, with `nll` and `ece` before and after it.

    If the likelihood has no maximum within 0.01..100 (too few images, or all predicted right), `fitted` is false and
    the temperature is 1.
    """
    fitted = fit_temperature(logits, labels)
    temperature = 1.0 if fitted is None else fitted
    before, after = _quality(logits, labels, 1.0), _quality(logits, labels, temperature)
    facts = {f"{name}_{when}": value[name] for when, value in (("before", before), ("after", after)) for name in value}
    return {"temperature": temperature, "fitted": fitted is not None, **facts}


def fit_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """The T in 0.01..100 that minimises the mean NLL of softmax(logits / T); None if the minimum is at either end.

    In β = 1/T the NLL is convex and its slope E_p[z] - z_label increases: log T is bisected by the slope's sign, in
    float64. The result is deterministic.

    Args:
        logits: (N, K) float; a constant added to a row changes nothing, so log probabilities can be given as well.
        labels: (N,) int64.

    Source: Guo et al., On Calibration of Modern Neural Networks, section 4.2, https://arxiv.org/abs/1706.04599
    """
    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    if not (_slope(logits, labels, _LOWEST) > 0 > _slope(logits, labels, _HIGHEST)):
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _slope(logits, labels, math.exp(middle)) > 0:  # overconfident: β is too large, T too small
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def _slope(logits: Tensor, labels: Tensor, temperature: float) -> float:
    """Derivative of the summed NLL with respect to 1/T."""
    total = 0.0
    for rows, truth in _chunks(logits, labels):
        expected = ((rows / temperature).softmax(1) * rows).sum(1)
        total += float((expected - rows.gather(1, truth[:, None])[:, 0]).sum())
    return total


def _quality(logits: Tensor, labels: Tensor, temperature: float) -> dict[str, float]:
    """Mean NLL and expected calibration error at a temperature."""
    nll, confidence, right = 0.0, [], []
    for rows, truth in _chunks(logits, labels):
        logs = (rows / temperature).log_softmax(1)
        nll -= float(logs.gather(1, truth[:, None]).sum())
        highest = logs.max(1)
        confidence.append(highest.values.exp())
        right.append(highest.indices == truth)
    return {"nll": nll / len(labels), "ece": calibration_error(torch.cat(confidence).numpy(), torch.cat(right).numpy())}


def _chunks(logits: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows in float64, in consecutive pieces."""
    rows = max(1, _CHUNK // logits.shape[1])
    for first in range(0, len(labels), rows):
        yield logits[first : first + rows].double().clamp_min(_FLOOR), labels[first : first + rows]


def _predict(method: nn.Module, opened: Opened, loader: Batches, reporter: Reporter) -> tuple[Tensor, Tensor]:
    """(N, K) float32 final logits and (N,) labels of a loader's images, copied to the CPU once, at the end."""
    data, logits, labels = opened.spec.data, [], []
    reporter.begin("calibrating on the validation split", len(loader))
    try:
        with torch.inference_mode():
            for batch in loader.epoch(0):
                batch = to_device(batch, opened.device, *data.normalisation)
                with autocast(opened.device, opened.spec.train.precision):
                    output = method(batch.images)
                logits.append(output.logits.float())
                labels.append(batch.labels)
                reporter.advance(len(batch.labels))
    finally:
        reporter.end()
    return torch.cat(logits).cpu(), torch.cat(labels).cpu()


def _done(run: RunFolder) -> dict[str, Any] | None:
    """The result of an earlier call, if it is of the current model."""
    try:
        kept, about = run.calibration(), about_model(run.model_file)
        open_validation(run.model_file, run, about["epoch"], about.get("temperature", 1.0))
    except FgvcError:
        return None
    same = about.get("temperature") == kept["temperature"] and about["epoch"] == kept["epoch"]
    return kept if same else None
