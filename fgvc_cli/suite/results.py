"""What a suite's runs have measured: means over seeds, and differences to the baseline with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.predictions import read_predictions
from fgvc_cli.runs.journal import read_rows
from fgvc_cli.suite.plan import Job, Plan

DRAWS = 2000  # of the bootstrap
_BLOCK = 1 << 24  # numbers of a block of draws
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds; the latter is None of a single one."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Of values, if there are any. The deviation is that of a sample (n - 1)."""
        if not values:
            return None
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Finished:
    """One finished run."""

    job: Job
    result: dict[str, Any]

    @classmethod
    def of(cls, job: Job) -> Finished:
        """Read its results. FgvcError if they are damaged."""
        return cls(job, job.run.evaluation("test"))

    @cached_property
    def answers(self) -> dict[str, bool]:
        """Image → whether the prediction is right."""
        file = self.job.run.path / self.result["files"]["predictions"]
        return {one.image: one.true == one.predicted for one in read_predictions(file)}

    @cached_property
    def epochs(self) -> list[dict[str, str]]:
        """The rows of metrics.csv."""
        return read_rows(self.job.run.metrics_file)

    @property
    def hours(self) -> float:
        """Of training."""
        return sum(float(row["seconds"]) for row in self.epochs) / 3600

    @property
    def memory(self) -> float | None:
        """The peak memory of training, in GiB; None if it was not recorded."""
        found = [float(row["memory_mib"]) for row in self.epochs if row.get("memory_mib")]
        return max(found) / 1024 if found else None


@dataclass(frozen=True)
class RowResult:
    """A row of the table. Shares are 0..1; None: no run of it has finished, or it was not measured."""

    name: str
    published: float | None  # per cent
    top1: Spread | None
    mean_per_class: Spread | None
    calibration: Spread | None
    localisation: Spread | None  # mean IoU of the method's best box
    hours: Spread | None
    memory: Spread | None  # GiB: the GPU's, or without one the process's
    parameters: int | None
    multiply_adds: int | None
    difference: tuple[float, float, float] | None  # to the baseline's top-1, with the ends of its 95 % interval
    branches: dict[str, Spread]
    unfinished: tuple[int, ...]  # seeds


def collect(plan: Plan) -> list[RowResult]:
    """The table of a suite's finished runs."""
    rows = {row.name: _finished(plan.of_row(row.name)) for row in plan.file.rows}
    return [_row(plan, row.name, row.published, rows) for row in plan.file.rows]


def _finished(jobs: Sequence[Job]) -> list[Finished]:
    return [Finished.of(job) for job in jobs if job.finished]


def _row(plan: Plan, name: str, published: float | None, rows: dict[str, list[Finished]]) -> RowResult:
    done = rows[name]
    reference = rows[plan.file.reference]
    cost = _cost(done[0]) if done else None

    def over(key: str, *path: str) -> Spread | None:
        return Spread.of([value for one in done if (value := _at(one.result, *path, key)) is not None])

    seeds = {one.job.seed for one in done}
    return RowResult(
        name=name,
        published=published,
        top1=over("top1", "branches", "final"),
        mean_per_class=over("mean_per_class", "branches", "final"),
        calibration=Spread.of([value for one in done if (value := _calibration(one.result)) is not None]),
        localisation=Spread.of([value for one in done if (value := _best_box(one.result)) is not None]),
        hours=Spread.of([one.hours for one in done]),
        memory=Spread.of([one.memory for one in done if one.memory is not None]),
        parameters=None if cost is None else cost[0],
        multiply_adds=None if cost is None else cost[1],
        difference=None if name == plan.file.reference else difference(done, reference),
        branches={
            branch: spread
            for branch in (done[0].result["branches"] if done else ())
            if branch != "final" and (spread := over("top1", "branches", branch)) is not None
        },
        unfinished=tuple(job.seed for job in plan.of_row(name) if job.seed not in seeds),
    )


def _at(tree: Any, *path: str) -> float | None:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return None if tree is None else float(tree)


def _calibration(result: dict[str, Any]) -> float | None:
    """Of the prediction that users see: at the run's temperature, where it has one."""
    calibrated = _at(result, "calibration", "ece_calibrated")
    return _at(result, "calibration", "ece") if calibrated is None else calibrated


def _best_box(result: dict[str, Any]) -> float | None:
    boxes = (result.get("localisation") or {}).get("boxes", {})
    own = [one["mean_iou"] for name, one in boxes.items() if name not in ("whole image", "mean training box")]
    return max(own) if own else None


def _cost(one: Finished) -> tuple[int, int] | None:
    from fgvc_cli.methods.cost import summarize

    try:
        counted = summarize(one.job.run.spec(), len(one.job.run.classes()))
    except FgvcError:
        return None
    return counted.parameters, counted.multiply_adds


def difference(row: Sequence[Finished], reference: Sequence[Finished]) -> tuple[float, float, float] | None:
    """The difference of two rows' top-1 over the seeds that both have, and the ends of its 95 % interval.

    None if they share no seed or were not measured on the same images.
    """
    theirs = {one.job.seed: one for one in reference}
    pairs = [(one, theirs[one.job.seed]) for one in row if one.job.seed in theirs]
    if not pairs or any(one.answers.keys() != other.answers.keys() for one, other in pairs):
        return None
    images = sorted(pairs[0][0].answers)
    if any(one.answers.keys() != set(images) for one, _ in pairs):
        return None
    gaps = [[float(one.answers[name]) - float(other.answers[name]) for name in images] for one, other in pairs]
    return paired_bootstrap(np.array(gaps))


def paired_bootstrap(gaps: Floats, draws: int = DRAWS, seed: int = 0) -> tuple[float, float, float]:
    """Mean, and the 2.5 and 97.5 per cent points over draws of images and of seeds, each with replacement.

    Args:
        gaps: (S, N) difference of two models' answers on each image: -1, 0 or 1; a row for each pair of seeds.
        draws: their number.
        seed: of the draws.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993; both models answer the same drawn images.
    """
    dice = np.random.RandomState(seed)
    seeds, images = gaps.shape
    found = []
    for first in range(0, draws, max(1, _BLOCK // images)):
        count = min(max(1, _BLOCK // images), draws - first)
        of_images = dice.multinomial(images, np.full(images, 1 / images), count) / images  # (count, N)
        of_seeds = dice.multinomial(seeds, np.full(seeds, 1 / seeds), count) / seeds  # (count, S)
        found.append(((of_images @ gaps.T) * of_seeds).sum(1))
    low, high = np.percentile(np.concatenate(found), [2.5, 97.5])
    return float(gaps.mean()), float(low), float(high)
