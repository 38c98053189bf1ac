"""The exponential moving average (EMA) of a method's weights."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fgvc_cli.methods.base import Method


class Average(nn.Module):
    """A copy of `method` with averaged weights: the first update copies, each later one keeps `decay` of the average.

    Buffers are averaged as well, since BatchNorm's statistics must belong to the averaged weights. torch's
    AveragedModel reads its counter from the device in each update; this one counts on the host, so nothing waits.

    Args:
        method: the method that is trained, on its device.
        decay: 0 to 1.
    """

    def __init__(self, method: Method, decay: float) -> None:
        super().__init__()
        self.method = copy.deepcopy(method).requires_grad_(False)
        self.updates = 0
        self._average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self, method: Method) -> None:
        """Update the average from `method`, whose tensors have the same number and order as the copy's."""
        pairs = list(zip(_tensors(self.method), _tensors(method), strict=True))
        floats = [pair for pair in pairs if self.updates and pair[0].is_floating_point()]
        # Counters are copied: their average, rounded down, would never grow.
        copied = [pair for pair in pairs if not (self.updates and pair[0].is_floating_point())]
        if floats:
            self._average([own for own, _ in floats], [value for _, value in floats], None)
        if copied:
            torch._foreach_copy_([own for own, _ in copied], [value for _, value in copied])
        self.updates += 1

    def get_extra_state(self) -> Tensor:
        """The number of updates."""
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the number of updates."""
        self.updates = int(state)


def _tensors(method: nn.Module) -> itertools.chain[Tensor]:
    return itertools.chain(method.parameters(), method.buffers())
