"""An ensemble: several runs answer together, by the mean of their calibrated probabilities.

Source: Lakshminarayanan et al., Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles, NeurIPS
2017, https://arxiv.org/abs/1612.01474.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fgvc_cli.errors import BadRequest
from fgvc_cli.evaluation.counting.measures import Measures
from fgvc_cli.evaluation.evaluate import run_through, tree_measures
from fgvc_cli.evaluation.results import Measured, worst_of
from fgvc_cli.evaluation.taxonomy import taxonomy_of
from fgvc_cli.inference.dataset import Images
from fgvc_cli.inference.features.shown import embedded, shown
from fgvc_cli.inference.opened import Opened, open_trained
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.methods.base import Output
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console

_FLOOR = 1e-30  # of a probability whose logarithm is taken


class MeanAnswer(nn.Module):
    """The mean of M models' probabilities; each model is a branch of its name."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)

    def forward(self, probabilities: Tensor, *, evidence: bool = False) -> Output:
        """(B, M · K), model after model → logarithms of probabilities, (B, K) each."""
        probabilities = probabilities.reshape(len(probabilities), len(self.names), -1)
        logs = probabilities.clamp_min(_FLOOR).log()
        mean = probabilities.mean(1).clamp_min(_FLOOR).log()
        return Output(mean, {name: logs[:, place] for place, name in enumerate(self.names)}, {}, None)


@dataclass(frozen=True)
class _Answers:
    """A run's answers to all images."""

    probabilities: Tensor  # (N, K) float32, calibrated, on the CPU
    images: Images
    spec: RunSpec
    classes: tuple[str, ...]
    epoch: int


class _Kept:
    """A measure that keeps the probabilities."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Keep those of a batch."""
        self.parts.append(probabilities)

    def compute(self) -> dict[str, Any]:
        """Nothing."""
        return {}


def measure_ensemble(runs: Sequence[RunFolder], request: EvalRequest, console: Console) -> Measured:
    """Evaluate runs together on a split or on new photos; each with its own preprocessing. Nothing is written.

    Returns:
        What `measure_run` does of accuracy, calibration, taxonomy and confusions. `branches` has the runs by name, so
        that each is beside the ensemble.

    Raises:
        BadRequest: the runs know other classes or have other images, or what is asked for is of a single model.
    """
    _suits(runs, request)
    answers: list[_Answers] = []
    for run in runs:
        answers.append(_answers(run, request, console))
        _same(runs[0], answers[0], run, answers[-1])
    first, cpu = answers[0], torch.device("cpu")
    tree = taxonomy_of(runs[0], first.classes, request.taxonomy, first.images.index.taxonomy)
    measures = Measures(len(first.classes), cpu, more=tree_measures(tree, request, cpu))
    together = torch.cat([one.probabilities for one in answers], 1)
    labels = torch.from_numpy(first.images.split.labels)
    loader = embedded(together, labels, shared=False)
    run_through(MeanAnswer(_names(runs)), loader, first.spec, cpu, Reporter(Console(quiet=True)), measures)
    counts, predicted = measures.branches.counts(), measures.predictions.read()
    about: dict[str, Any] = {
        "run": " + ".join(str(run.path) for run in runs),
        "split": first.images.name,
        "method": "ensemble",
    }
    about |= {"epoch": first.epoch, "dataset": first.images.index.name, "classes": len(first.classes)}
    result = {**about, **first.images.facts, **measures.compute(), **worst_of(first.classes, counts, predicted)}
    return Measured(result, first.images.split, first.classes, counts, predicted, tree)


def _suits(runs: Sequence[RunFolder], request: EvalRequest) -> None:
    asked = {
        "--unknown": request.unknown is not None,
        "--target-precision": request.target_precision is not None,
        "--set-coverage": request.set_coverage is not None,
        "--localisation": bool(request.localisation),
        "--retrieval": bool(request.retrieval),
    }
    odd = next((flag for flag, given in asked.items() if given), None)
    if odd is not None:
        raise BadRequest(f"{odd} is measured of a single run: leave it or --ensemble out")
    if len(runs) < 2:
        raise BadRequest("--ensemble: name two or more runs")


def _answers(run: RunFolder, request: EvalRequest, console: Console) -> _Answers:
    opened: Opened = open_trained(run, request, console)
    images, trained, reporter = opened.images, opened.trained, Reporter(console)
    method, loader = shown(run, opened, images.index, images.split, reporter, shared=False)
    kept = _Kept()
    measures = Measures(len(trained.classes), opened.device, None, trained.temperature, {"kept": kept})
    reporter.begin(f"{run.name} on {images.name}", len(loader))
    try:
        run_through(method, loader, opened.spec, opened.device, reporter, measures)
    finally:
        reporter.end()
    return _Answers(torch.cat(kept.parts).cpu(), images, opened.spec, trained.classes, trained.epoch)


def _same(first: RunFolder, one: _Answers, run: RunFolder, other: _Answers) -> None:
    if one.classes != other.classes:
        raise BadRequest(f"{first.path} and {run.path} know other classes, so that they cannot answer together")
    if one.images.index.root != other.images.index.root or one.images.split.files != other.images.split.files:
        raise BadRequest(
            f"{first.path} and {run.path} have other {one.images.name} images: name the images with --data-dir"
        )


def _names(runs: Sequence[RunFolder]) -> list[str]:
    """A name for each run: its folder's, or its path where two are called the same."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [os.path.normpath(run.path) for run in runs]
