"""The moving average of a method's weights (EMA)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fgvc_cli.methods.base import Method


def averaged_copy(method: Method, decay: float) -> AveragedModel:
    """A copy of `method` that follows it: the first update copies, each later one keeps `decay` of what there is.

    Buffers are averaged as well: BatchNorm's statistics must be those of the averaged weights.
    """
    return AveragedModel(method, multi_avg_fn=_ema(decay), use_buffers=True)


def averaged(model: AveragedModel) -> Method:
    """The method inside."""
    return cast(Method, model.module)


def _ema(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    floats = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(average: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        if average[0].is_floating_point():
            floats(average, current, count)
        else:  # counters: rounding their average down would hold them still
            torch._foreach_copy_(list(average), list(current))

    return update
