"""The moving average of a method's weights (EMA)."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fgvc_cli.methods.base import Method


class Average(nn.Module):
    """A copy of `method` that follows it: the first update copies, each later one keeps `decay` of what there is.

    Buffers are averaged as well: BatchNorm's statistics must be those of the averaged weights. torch's AveragedModel
    reads its counter in each update; this one counts on the host, so that nothing waits for the device.

    Args:
        method: what is followed, on its device.
        decay: 0 to 1.
    """

    def __init__(self, method: Method, decay: float) -> None:
        super().__init__()
        self.method = copy.deepcopy(method).requires_grad_(False)
        self.updates = 0
        self._follow = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self, method: Method) -> None:
        """Follow `method`, whose tensors are those of the copy in number and order."""
        pairs = list(zip(_tensors(self.method), _tensors(method), strict=True))
        floats = [pair for pair in pairs if self.updates and pair[0].is_floating_point()]
        # Counters are copied: rounding their average down would hold them still.
        copied = [pair for pair in pairs if not (self.updates and pair[0].is_floating_point())]
        if floats:
            self._follow([own for own, _ in floats], [value for _, value in floats], None)
        if copied:
            torch._foreach_copy_([own for own, _ in copied], [value for _, value in copied])
        self.updates += 1

    def get_extra_state(self) -> Tensor:
        """The number of updates."""
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from that number."""
        self.updates = int(state)


def _tensors(method: nn.Module) -> itertools.chain[Tensor]:
    return itertools.chain(method.parameters(), method.buffers())
