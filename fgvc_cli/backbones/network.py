"""Backbone: a classification network without its head, run segment by segment; each segment ends in a named map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgvc_cli.backbones.recompute import Unit, in_a_row, in_units, units
from fgvc_cli.errors import BadRequest


class Segment(NamedTuple):
    """Consecutive modules of the trunk whose output is a named map."""

    name: str
    channels: int
    stride: int  # input pixels per cell of the map
    modules: tuple[str, ...]  # module paths inside the trunk, run in this order


class Backbone(nn.Module):
    """Images → named maps.

    State-dict keys are those of the library, under `trunk.`. Modules are looked up by path at each call, so the trunk
    may be converted (SyncBatchNorm), copied or widened.

    Attributes:
        name: as in the spec.
        names: of the maps, from the image to the top.
        channels, strides: per map name.
        last: name of the top map.
        pyramid: names of three maps of strides s, 2s and 4s, the third being the top map.
        reenters: whether `forward` supports `after`.
        reshapes: whether widths and strides of its layers can be changed.
        random: whether its layers use random numbers in training.
        checkpointing: whether training uses gradient checkpointing (`set_checkpointing`).
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
        """Names of three maps of strides s, 2s and 4s, the third being the top map.

        Raises:
            BadRequest: the network has no such maps.
        """
        if self._pyramid is None:
            raise BadRequest(f"backbone {self.name} has no three maps of doubling strides, as a feature pyramid needs")
        return self._pyramid

    def without_pyramid(self) -> None:
        """Remove the pyramid, after a change of strides."""
        self._pyramid = None

    def canonical(self, key: str) -> str:
        """Canonical form of a state-dict key: equal for a trunk's key and the matching key of a weights file."""
        return key

    def forward(self, x: Tensor, taps: Sequence[str], after: str | None = None) -> dict[str, Tensor]:
        """Run from the image, or from the map called `after`, up to the last tap.

        Args:
            x: (B, 3, H, W) images, or the map `after` (B, C, h, w).
            taps: names of the maps to return, all above `after`.
            after: name of the map that is given as `x`; None: `x` are images.

        Returns:
            Name → (B, C, h, w), in the order of the trunk.

        Raises:
            ValueError: an unknown name, no tap, or a tap that is not above `after`.
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
        """Switch gradient checkpointing on or off. BadRequest if it would not be exact."""
        self.checkpointing = on

    def units(self) -> list[Unit]:
        """The units of gradient checkpointing if only the top map is read; empty for networks without segments."""
        return units([self.trunk.get_submodule(path) for segment in self.segments for path in segment.modules])

    @property
    def _recomputes(self) -> bool:
        return self.checkpointing and self.training and torch.is_grad_enabled()

    def _run(self, modules: Sequence[nn.Module], x: Tensor) -> Tensor:
        return in_units(modules, x, random=self.random) if self._recomputes else in_a_row(modules, x)

    def map_sizes(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        """(h, w) of every map for images of height × width, found on the meta device without computation."""
        state = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        shapes = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
        images = torch.empty(2, 3, height, width, device="meta")
        with torch.no_grad():
            maps = torch.func.functional_call(self, shapes, (images, self.names))
        return {name: (value.shape[2], value.shape[3]) for name, value in maps.items()}


def set_checkpointing(module: nn.Module, on: bool) -> None:
    """Switch gradient checkpointing on or off for every backbone inside `module`.

    Losses, gradients and BatchNorm statistics are bit-equal either way.

    Raises:
        BadRequest: a timm backbone for which it would not be exact.
    """
    for part in module.modules():
        if isinstance(part, Backbone):
            part.checkpoint(on)
