"""Backbone: a classifier without its head, run segment by segment, each segment's result having a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgvc_cli.backbones.recompute import Unit, in_a_row, in_units, units
from fgvc_cli.errors import BadRequest


class Segment(NamedTuple):
    """A stretch of the trunk that ends in a named map."""

    name: str
    channels: int
    stride: int  # input pixels a cell of the map
    modules: tuple[str, ...]  # paths inside the trunk, run in this order


class Backbone(nn.Module):
    """Images → named maps.

    The trunk keeps its library's own state-dict keys, under `trunk.`. Modules are looked up by path at each call,
    so the trunk may be converted (SyncBatchNorm), copied or widened.

    Attributes:
        name: as the spec has it.
        names: of the maps, from the image to the top.
        channels, strides: by map name.
        last: the top map's name.
        pyramid: three maps of strides s, 2s and 4s that end at the top.
        reenters: whether `forward` takes `after`.
        reshapes: whether its layers may be given other widths and strides.
        random: whether its layers draw numbers in training.
        checkpointing: whether training keeps little and computes it again in the backward pass (`set_checkpointing`).
    """

    reenters = True
    reshapes = True
    random = False
    checkpointing = False

    def __init__(self, name: str, trunk: nn.Module, segments: Sequence[Segment], pyramid: Sequence[str]) -> None:
        super().__init__()
        self.name = name
        self.trunk = trunk
        self.segments = tuple(segments)
        self.names = tuple(segment.name for segment in self.segments)
        self.channels = {segment.name: segment.channels for segment in self.segments}
        self.strides = {segment.name: segment.stride for segment in self.segments}
        self.last = self.names[-1]
        self._pyramid = (pyramid[0], pyramid[1], pyramid[2]) if len(pyramid) == 3 else None

    @property
    def pyramid(self) -> tuple[str, str, str]:
        """Three maps of strides s, 2s and 4s, the third being the top.

        Raises:
            BadRequest: the network has none.
        """
        if self._pyramid is None:
            raise BadRequest(f"backbone {self.name} has no three maps of rising strides, as a feature pyramid needs")
        return self._pyramid

    def without_pyramid(self) -> None:
        """Its strides were changed: there are no such three maps any more."""
        self._pyramid = None

    def canonical(self, key: str) -> str:
        """A trunk's state-dict key as files of weights name it, the same for a trunk's and a file's key."""
        return key

    def forward(self, x: Tensor, taps: Sequence[str], after: str | None = None) -> dict[str, Tensor]:
        """Run from the image, or from the map called `after`, up to the last tap and no further.

        Args:
            x: (B, 3, H, W) images, or that map (B, C, h, w).
            taps: names of the maps wanted, all above `after`.
            after: name of the map that `x` is; none: `x` is the image.

        Returns:
            Name → (B, C, h, w), in the trunk's order.

        Raises:
            ValueError: an unknown name, no tap, or a tap not above `after`.
        """
        start = 0 if after is None else self.names.index(after) + 1
        reachable = self.names[start:]
        if not taps or not set(taps) <= set(reachable):
            raise ValueError(f"taps {list(taps)} are not maps above {after or 'the image'}: those are {reachable}")
        end = max(self.names.index(tap) for tap in taps) + 1
        maps: dict[str, Tensor] = {}
        modules: list[nn.Module] = []
        for segment in self.segments[start:end]:
            modules += [self.trunk.get_submodule(path) for path in segment.modules]
            if segment.name in taps:
                maps[segment.name] = x = self._run(modules, x)
                modules = []
        return maps

    def checkpoint(self, on: bool) -> None:
        """Whether training computes activations again from now on. BadRequest where that could not be exact."""
        self.checkpointing = on

    def units(self) -> list[Unit]:
        """What is computed again as one, if no map is asked for on the way; of a network that runs whole nothing."""
        return units([self.trunk.get_submodule(path) for segment in self.segments for path in segment.modules])

    @property
    def _recomputes(self) -> bool:
        return self.checkpointing and self.training and torch.is_grad_enabled()

    def _run(self, modules: Sequence[nn.Module], x: Tensor) -> Tensor:
        return in_units(modules, x, random=self.random) if self._recomputes else in_a_row(modules, x)

    def map_sizes(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        """(h, w) of every map for images of height × width, from shapes alone: nothing is computed."""
        state = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        shapes = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
        images = torch.empty(2, 3, height, width, device="meta")
        with torch.no_grad():
            maps = torch.func.functional_call(self, shapes, (images, self.names))
        return {name: (value.shape[2], value.shape[3]) for name, value in maps.items()}


def set_checkpointing(module: nn.Module, on: bool) -> None:
    """Let every backbone inside compute its activations again in the backward pass, or keep them all.

    Losses, gradients and BatchNorm's statistics are the same to the bit.

    Raises:
        BadRequest: a backbone of timm that cannot do so exactly.
    """
    for part in module.modules():
        if isinstance(part, Backbone):
            part.checkpoint(on)
