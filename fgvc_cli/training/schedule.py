"""The learning-rate schedule of a run. A new schedule needs a spec in spec/optim.py and a case here."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

from torch import optim

from fgvc_cli.spec.optim import Constant, Cosine, MultiStep, OptimSpec, Schedule, Step


def build_scheduler(
    optimizer: optim.Optimizer, spec: OptimSpec, epochs: int, steps_per_epoch: int, starts: Sequence[int] = (0,)
) -> optim.lr_scheduler.LambdaLR:
    """The scheduler, stepped once after every optimizer step. `starts`: see `rate_factor`."""
    factor = rate_factor(spec, epochs, starts)
    # fp16 skips the first optimizer steps until its loss scale has settled; the schedule counts them nevertheless.
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    return optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step / steps_per_epoch))


def rate_factor(spec: OptimSpec, epochs: int, starts: Sequence[int] = (0,)) -> Callable[[float], float]:
    """Epoch (fractional, 0-based) → the factor of the learning rate. Warm-up rises linearly and is never 0.

    A training stage lasts from one of `starts` (ascending, the first is 0) to the next, or to the end. Each stage runs
    the whole schedule, warm-up included, over its own length.
    """

    def factor(epoch: float) -> float:
        begun = [start for start in starts if start <= epoch]
        start, end = begun[-1], [*starts, epochs][len(begun)]
        epoch, rise = epoch - start, 1.0
        if spec.warmup_epochs and epoch < spec.warmup_epochs:
            rise = max(epoch / spec.warmup_epochs, 1e-3)
        return rise * _schedule_factor(spec.schedule, epoch, end - start)

    return factor


def _schedule_factor(schedule: Schedule, epoch: float, epochs: int) -> float:
    whole = math.floor(epoch)
    match schedule:
        case Constant():
            return 1.0
        case Step(every=every, gamma=gamma):
            return gamma ** (whole // every)
        case MultiStep(milestones=milestones, gamma=gamma):
            return gamma ** sum(whole >= milestone for milestone in milestones)
        case Cosine(final=final):
            wave = (1 + math.cos(math.pi * min(epoch / epochs, 1.0))) / 2
            return final + (1 - final) * wave
