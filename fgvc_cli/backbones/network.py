"""Backbone: a classification network without its head, run segment by segment; each segment ends in a named map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fgvc_cli.backbones.recompute import Unit, in_a_row, in_units, units
from fgvc_cli.errors import BadRequest

EMBEDDING = "embedding"  # the tap that is no map: what the network's own classifier reads


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
        embedding_width: D of the tap `EMBEDDING`; None: what only the network's own classifier reads was left out.
        reenters: whether `forward` supports `after`.
        reshapes: whether widths and strides of its layers can be changed.
        random: whether its layers use random numbers in training.
        checkpointing: whether training uses gradient checkpointing (`set_checkpointing`).
        frozen_norm: whether BatchNorm layers always use the statistics of the starting weights (`freeze`).
        frozen: number of maps from the image up to which nothing is trained (`freeze`).
        fresh: paths inside the trunk of layers that a method made anew: they are trained like what is new.
    """

    reenters = True
    reshapes = True
    random = False
    checkpointing = False
    frozen_norm = False
    frozen = 0
    fresh: tuple[str, ...] = ()

    def __init__(self, name: str, trunk: nn.Module, segments: Sequence[Segment], pyramid: Sequence[str]) -> None:
        super().__init__()
        self.name = name
        self.trunk = trunk
        self.segments = tuple(segments)
        self.names = tuple(segment.name for segment in self.segments)
        self.channels = {segment.name: segment.channels for segment in self.segments}
        self.strides = {segment.name: segment.stride for segment in self.segments}
        self.last = self.names[-1]
        self.embedding_width: int | None = self.channels[self.last]
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

    def converted(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of a weights file in another layout, as the library names and shapes them; else unchanged."""
        return tensors

    def forward(
        self, x: Tensor, taps: Sequence[str], after: str | None = None, beside: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Run from the image, or from the map called `after`, up to the last tap.

        Args:
            x: (B, 3, H, W) images, or the map `after` (B, C, h, w).
            taps: what to return: names of maps above `after`, `EMBEDDING`, and names that `beside` gives.
            after: name of the map that is given as `x`; None: `x` are images.
            beside: what the network carries along beside that map (see the method `beside`); None if nothing.

        Returns:
            Name → (B, C, h, w), in the order of the trunk; `EMBEDDING` → (B, D), as its classifier would read it.

        Raises:
            ValueError: an unknown name, no tap, or a tap that is not above `after`.
        """
        maps = self._maps(x, self._reachable(taps, after), after)
        if EMBEDDING in taps:
            maps[EMBEDDING] = self.embed(maps[self.last])
        return {name: maps[name] for name in (*self.names, EMBEDDING) if name in taps}

    def beside(self, name: str) -> tuple[str, ...]:
        """Names of what `forward` must be given beside the map `name` to go on from it; empty for most networks."""
        return ()

    def embed(self, top: Tensor) -> Tensor:
        """What the network's own classifier reads of the top map: (B, C, h, w) → (B, D) float32."""
        return top.float().mean((2, 3))

    def positions(self, top: Tensor) -> Tensor | None:
        """What the classifier would read of each position of the top map alone: (B, C, h, w) → (B, D, h, w).

        A linear classifier on this map gives a class activation map. Its mean is the embedding where the network pools
        last; elsewhere the map is an approximation. None: the classifier does not read positions alike.
        """
        return top

    def without_embedding(self) -> None:
        """Delete what only the network's own classifier reads, since the optimizer would decay it unused."""

    def _reachable(self, taps: Sequence[str], after: str | None) -> list[str]:
        """The taps that are maps, and the top map if the embedding is asked for. ValueError as for `forward`."""
        start = 0 if after is None else self.names.index(after) + 1
        maps = [tap for tap in taps if tap != EMBEDDING]
        if not taps or not set(maps) <= set(self.names[start:]):
            raise ValueError(f"taps {list(taps)} are not maps above {after or 'the image'}: {self.names[start:]}")
        if EMBEDDING in taps and self.embedding_width is None:
            raise ValueError(f"backbone {self.name} was built without its embedding")
        return [*maps, self.last] if EMBEDDING in taps else maps

    def _maps(self, x: Tensor, taps: Sequence[str], after: str | None) -> dict[str, Tensor]:
        """Run segment by segment."""
        start = 0 if after is None else self.names.index(after) + 1
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

    def freeze(self, maps: int) -> None:
        """Train nothing up to the `maps`-th map from the image, but for `fresh` layers; len(names): nothing at all.

        Frozen BatchNorm layers stay in evaluation mode, whatever `train` says. What was frozen before and is not now
        is trained again.
        """
        for value in self._held_parameters(self.frozen):
            value.requires_grad_(True)
        self.frozen = maps
        for value in self._held_parameters(maps):
            value.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As PyTorch's, but frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self._held(self.frozen) if mode else ():
            module.train(False)
        for path in self.fresh if mode else ():
            self.trunk.get_submodule(path).train(mode)
        for module in self.trunk.modules() if mode and self.frozen_norm else ():
            if isinstance(module, _BatchNorm):
                module.train(False)
        return self

    def _held(self, maps: int) -> list[nn.Module]:
        """The modules up to a map."""
        if maps >= len(self.names):
            return [self.trunk]
        return [self.trunk.get_submodule(path) for segment in self.segments[:maps] for path in segment.modules]

    def _held_parameters(self, maps: int) -> list[nn.Parameter]:
        """The parameters up to a map, with those of the trunk itself, which belong to its stem; without fresh ones."""
        own = list(self.trunk.parameters(recurse=False)) if maps else []
        fresh = {id(value) for path in self.fresh for value in self.trunk.get_submodule(path).parameters()}
        inside = [value for module in self._held(maps) for value in module.parameters()]
        return [value for value in [*own, *inside] if id(value) not in fresh]

    def units(self) -> list[Unit]:
        """The units of gradient checkpointing if only the top map is read; empty for networks without segments."""
        return units([self.trunk.get_submodule(path) for segment in self.segments for path in segment.modules])

    @property
    def _recomputes(self) -> bool:
        return self.checkpointing and self.training and torch.is_grad_enabled()

    def _run(self, modules: Sequence[nn.Module], x: Tensor) -> Tensor:
        return in_units(modules, x, random=self.random) if self._recomputes else in_a_row(modules, x)

    def map_sizes(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        """(h, w) of every map, and of those of the pyramid, for images of height × width; nothing is computed."""
        state = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        shapes = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
        images = torch.empty(2, 3, height, width, device="meta")
        with torch.no_grad():
            taps = tuple(dict.fromkeys((*self.names, *(self._pyramid or ()))))
            maps = torch.func.functional_call(self, shapes, (images, taps))
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


def freeze(module: nn.Module, frozen: str | int, *, norm: bool = False) -> bool:
    """Freeze every backbone inside `module`: `none`, `all`, or up to so many maps from the image.

    With `norm` all its BatchNorm layers keep their statistics, also where they are trained.

    Returns:
        Whether another part than before is frozen.

    Raises:
        BadRequest: a backbone has fewer maps, or runs as a whole.
    """
    changed = False
    for part in (inner for inner in module.modules() if isinstance(inner, Backbone)):
        most = len(part.names)
        maps = most if frozen == "all" else 0 if frozen == "none" else int(frozen)
        if maps > most:
            raise BadRequest(f"backbone.freeze: {part.name} has {most} maps, so {maps} of them cannot be frozen")
        if 0 < maps < most and not all(segment.modules for segment in part.segments):
            raise BadRequest(f"backbone.freeze: {part.name} runs as a whole: freeze all of it or none")
        changed |= maps != part.frozen or norm != part.frozen_norm
        part.frozen_norm = norm
        part.freeze(maps)
    return changed
