"""Averages of the weights of several runs of one start, chosen on the validation split ("model soups").

Source: Wortsman et al., Model soups, ICML 2022, https://arxiv.org/abs/2203.05482: uniform soup; greedy soup, Recipe 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import BadRequest
from fgvc_cli.evaluation.calibration import calibrate_run
from fgvc_cli.evaluation.evaluate import evaluate, evaluate_run
from fgvc_cli.files import write_json
from fgvc_cli.inference.dataset import evaluation_loader, open_index
from fgvc_cli.inference.request import EvalRequest, with_request
from fgvc_cli.inference.trained import load_trained
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.checkpoint import about_model, load_model, save_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.journal import MetricsFile
from fgvc_cli.runs.schema import checked_spec
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console
from fgvc_cli.training.session import write_record

State = dict[str, Tensor]
Kind = Literal["best", "uniform", "greedy"]


@dataclass(frozen=True)
class Measure:
    """What a model does on the validation split."""

    top1: float  # 0..1
    loss: float  # cross entropy

    @property
    def order(self) -> tuple[float, float]:
        """Better is more: accuracy, then loss."""
        return self.top1, -self.loss


@dataclass(frozen=True)
class Soup:
    """An average of some of the runs."""

    kind: str
    members: tuple[int, ...]  # places among the runs
    measure: Measure


@dataclass(frozen=True)
class Averaged:
    """What `average_runs` has found."""

    runs: tuple[Path, ...]
    alone: tuple[Measure, ...]  # of each run
    soups: tuple[Soup, ...]
    chosen: Soup
    result: dict[str, Any]  # of the chosen average, on the test split

    def record(self) -> dict[str, Any]:
        """The content of average.json."""
        return {
            "runs": [
                {"run": str(run), "val_top1": one.top1, "val_loss": one.loss}
                for run, one in zip(self.runs, self.alone, strict=True)
            ],
            "soups": [
                {
                    "kind": soup.kind,
                    "runs": [str(self.runs[place]) for place in soup.members],
                    "val_top1": soup.measure.top1,
                    "val_loss": soup.measure.loss,
                }
                for soup in self.soups
            ],
            "chosen": self.chosen.kind,
        }


def average_runs(runs: Sequence[RunFolder], out: Path, kind: Kind, request: EvalRequest, console: Console) -> Averaged:
    """Average runs into a new run, and evaluate it once on the test split.

    Args:
        runs: trained from one start, with one validation split.
        out: the new run's folder.
        kind: uniform: all; greedy: each in the order of its accuracy, if the average does not get worse by it; best:
            the better of both on the validation split.
        request: device, workers and place of the data.
        console: for progress.

    Raises:
        BadRequest: the runs do not go together, or have no validation split.
    """
    spec = _common_spec(runs)
    new = RunFolder.unused(out)
    here = with_request(spec, request)
    index = _common_index(runs, here, console)
    assert index.val is not None
    device = prepare_device(here.train)
    trained = load_trained(runs[0].model_file)
    method = trained.method.to(device)
    loader = evaluation_loader(index, index.val, here, device)
    reporter = Reporter(console)

    def measured(state: Mapping[str, Tensor], what: str) -> Measure:
        method.load_state_dict(state)
        reporter.begin(what, len(loader))
        try:
            found = evaluate(method, loader, here, len(trained.classes), device, reporter)
        finally:
            reporter.end()
        return Measure(found["branches"]["final"]["top1"], found["loss"])

    states = [load_model(run.model_file)[0] for run in runs]
    alone = [measured(state, f"validation split, {run.name}") for run, state in zip(runs, states, strict=True)]
    soups = _soups(states, alone, kind, measured)
    chosen = max(soups, key=lambda soup: soup.measure.order)
    _write(new, runs, mean_state([states[place] for place in chosen.members]), chosen, spec, index, device)
    calibrate_run(new, request, index, console)
    result = evaluate_run(new, request, console, index)
    found = Averaged(tuple(run.path for run in runs), tuple(alone), tuple(soups), chosen, result)
    write_json(new.average_file, found.record())
    return found


def mean_state(states: Sequence[Mapping[str, Tensor]]) -> State:
    """The mean of each tensor, in its own type; whole numbers, such as counters, are those of the first."""
    first = states[0]
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value.clone()
        for name, value in first.items()
    }


def greedy(
    states: Sequence[Mapping[str, Tensor]], alone: Sequence[Measure], measured: Callable[[State, str], Measure]
) -> Soup:
    """The greedy soup: Recipe 1."""
    order = sorted(range(len(states)), key=lambda place: alone[place].order, reverse=True)
    members, best = [order[0]], alone[order[0]]
    for place in order[1:]:
        tried = measured(mean_state([states[one] for one in [*members, place]]), f"greedy, {len(members) + 1} runs")
        if tried.top1 >= best.top1:
            members, best = [*members, place], tried
    return Soup("greedy", tuple(members), best)


def _soups(
    states: Sequence[State], alone: Sequence[Measure], kind: Kind, measured: Callable[[State, str], Measure]
) -> list[Soup]:
    soups = []
    if kind != "greedy":
        everything = tuple(range(len(states)))
        soups.append(Soup("uniform", everything, measured(mean_state(states), "uniform")))
    if kind != "uniform":
        soups.append(greedy(states, alone, measured))
    return soups


def _common_spec(runs: Sequence[RunFolder]) -> RunSpec:
    """The spec of the first run. BadRequest if another's model is of another kind or start."""
    if len(runs) < 2:
        raise BadRequest("name two or more runs to average")
    abouts = [about_model(run.model_file) for run in runs]
    specs = [checked_spec(about["spec"], run.model_file) for about, run in zip(abouts, runs, strict=True)]
    first = specs[0]
    for run, about, spec in zip(runs[1:], abouts[1:], specs[1:], strict=True):
        for what, one, other in (
            ("classes", abouts[0]["classes"], about["classes"]),
            ("method", first.method.name, spec.method.name),
            ("settings of the method", first.method, spec.method),
            ("backbone", first.backbone, spec.backbone),
            ("image size", first.data.image_size, spec.data.image_size),
        ):
            if one != other:
                raise BadRequest(f"{runs[0].path} and {run.path} cannot be averaged: they have another {what}")
        if spec.backbone.weights == "none" and spec.train.seed != first.train.seed:
            raise BadRequest(
                f"{runs[0].path} and {run.path} start from different random weights, and their average is none of "
                "either: average runs that start from the same trained weights, or ask them both: fgvc eval --ensemble"
            )
    if first.method.at_once:
        raise BadRequest(f"{first.method.name} is fitted, not trained: there is nothing to average")
    return first


def _common_index(runs: Sequence[RunFolder], spec: RunSpec, console: Console) -> DatasetIndex:
    """The data of the runs. BadRequest if their validation splits differ, or there is none."""
    index = open_index(runs[0], spec.data, console)
    if index.val is None:
        raise BadRequest(f"{runs[0].path} has no validation split, by which an average is chosen: use --val-fraction")
    records = [run.splits() if run.splits_file.exists() else None for run in runs]
    if any(record != records[0] for record in records[1:]):
        raise BadRequest("the runs have other validation splits, so that none is unseen by all: train them on one")
    return index


def _write(
    new: RunFolder,
    runs: Sequence[RunFolder],
    state: State,
    chosen: Soup,
    spec: RunSpec,
    index: DatasetIndex,
    device: torch.device,
) -> None:
    best = about_model(runs[chosen.members[0]].model_file)
    about = {
        "spec": spec.model_dump(mode="json"),
        "classes": list(index.classes),
        "epoch": best["epoch"],
        "val_top1": chosen.measure.top1,
        "averaged": [str(runs[place].path) for place in chosen.members],
    }
    with new.locked():
        new.create(spec)
        write_record(new, spec.data, index, device)
        MetricsFile(new.metrics_file).append(
            {"epoch": about["epoch"] - 1, "step": 0, "val_loss": chosen.measure.loss, "val_top1": chosen.measure.top1}
        )
        write_json(new.average_file, {"chosen": chosen.kind})  # from here on it is no run that can be resumed
        save_model(new.model_file, state, about)
