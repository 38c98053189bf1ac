"""timm models of any other kind as backbones: they run as a whole, through timm's own interface for feature maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fgvc_cli.backbones.network import EMBEDDING, Segment
from fgvc_cli.backbones.timm import library
from fgvc_cli.backbones.timm.network import TimmBackbone, names_of, rising
from fgvc_cli.errors import BadRequest

_NEAR = 0.15  # relative
_SIZE = 224  # pixels, of a network that does not tell


class WholeNetwork(TimmBackbone):
    """A model of which `forward_intermediates` returns the maps. It cannot start from one of them."""

    reenters = False

    def __init__(self, name: str, trunk: nn.Module) -> None:
        self._chosen, shapes, size = _last_of_each_size(trunk)
        strides = [_stride(size, shape[2]) for shape in shapes]
        found = zip(names_of(strides), shapes, strides, strict=True)
        segments = [Segment(name, shape[1], stride, ()) for name, shape, stride in found]
        super().__init__(name, trunk, segments, rising(segments))

    def forward(
        self, x: Tensor, taps: Sequence[str], after: str | None = None, beside: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As `Backbone.forward`.

        Raises:
            BadRequest: `after` is given, but the model can only run as a whole.
        """
        if after is not None:
            raise BadRequest(f"backbone {self.name} cannot start from map {after}: use a torchvision backbone")
        self._reachable(taps, None)
        final, maps = _intermediates(self.trunk, x)
        found = dict(zip(self.names, (maps[index] for index in self._chosen), strict=True))
        if EMBEDDING in taps:
            network: Any = self.trunk
            found[EMBEDDING] = network.forward_head(final, pre_logits=True).float()
        return {name: found[name] for name in (*self.names, EMBEDDING) if name in taps}

    def positions(self, top: Tensor) -> None:
        """None: what lies between the map and the classifier is not known."""

    def without_embedding(self) -> None:
        """As `Backbone.without_embedding`."""
        network: Any = self.trunk
        network.reset_classifier(0, "")
        self.embedding_width = None

    def checkpoint(self, on: bool) -> None:
        """As `Backbone.checkpoint`, by timm's own means, which is exact if there is no BatchNorm.

        Raises:
            BadRequest: the model has BatchNorm statistics, or does not support gradient checkpointing.
        """
        super().checkpoint(on)
        network: Any = self.trunk
        able = hasattr(network, "set_grad_checkpointing")
        if on and not (able and not any("running_" in name for name, _ in self.trunk.named_buffers())):
            reason = "would update its BatchNorm statistics twice" if able else "has no gradient checkpointing"
            raise BadRequest(
                f"train.gradient_checkpointing: backbone {self.name} runs as a whole and {reason}; "
                "switch it off, or use a torchvision backbone"
            )
        if able:
            network.set_grad_checkpointing(on)


def _stride(size: int, side: int) -> int:
    """Image pixels per cell: a power of two where one is near, since maps are rounded up or lose their border."""
    power: int = 2 ** round(math.log2(size / side))
    return power if abs(size / side / power - 1) < _NEAR else round(size / side)


def _intermediates(trunk: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The final features and all maps (B, C, h, w)."""
    network: Any = trunk
    if not hasattr(network, "forward_intermediates"):
        version = library.package().__version__
        raise BadRequest(f"timm {version} has no interface for them; a newer one may: pip install --upgrade timm")
    final, maps = network.forward_intermediates(x, output_fmt="NCHW", intermediates_only=False)
    return final, maps


def _last_of_each_size(trunk: nn.Module) -> tuple[list[int], list[torch.Size], int]:
    """Indices and shapes of the last map of each size, and the images' size in pixels; nothing is computed."""
    config: Any = getattr(trunk, "pretrained_cfg", None) or {}
    size = int((config.get("input_size") or (3, _SIZE, _SIZE))[-1])
    state = {**dict(trunk.named_parameters()), **dict(trunk.named_buffers())}
    with torch.no_grad():
        maps = torch.func.functional_call(
            _Maps(trunk),
            {f"trunk.{name}": torch.empty_like(value, device="meta") for name, value in state.items()},
            torch.empty(2, 3, size, size, device="meta"),
        )
    last = {value.shape[2]: index for index, value in enumerate(maps)}
    chosen = sorted(last.values())
    return chosen, [maps[index].shape for index in chosen], size


class _Maps(nn.Module):
    """A trunk that returns its maps."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, S, S) → every map."""
        return _intermediates(self.trunk, x)[1]
