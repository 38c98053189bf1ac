"""AP-CNN's pyramid, gates and classifiers (Section 3.1). Levels go from the finest (P3) to the coarsest (P5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgvc_cli.methods.parts import global_pool, mean_probability, size_of
from fgvc_cli.spec.methods.apcnn import ApCnnSpec


@dataclass(frozen=True)
class Layout:
    """The differences between the published ResNet and VGG networks, which decide what the spec leaves open."""

    lateral: bool  # every level gets a lateral connection from the trunk; else only the top level does
    smooth_relu: bool  # ReLU after the 3×3 convolutions
    fused_top: bool  # the fused head reads the trunk's top map; else all levels
    hidden: int
    average: str  # logits or probabilities
    drop_rates: tuple[float, float, float]

    @classmethod
    def of(cls, spec: ApCnnSpec, backbone: str, num_classes: int) -> Layout:
        """The layout for a spec on the backbone of that name, for K classes."""
        top_down = backbone.startswith("vgg") if spec.neck == "auto" else spec.neck == "top_down"
        return cls(
            lateral=not top_down,
            smooth_relu=top_down,
            fused_top=top_down,
            hidden=spec.hidden or (512 if top_down or num_classes == 200 else 256),
            average=spec.average or ("probabilities" if top_down else "logits"),
            drop_rates=spec.drop_rates or ((0.3, 0.4, 0.0) if top_down else (0.3, 0.3, 0.0)),
        )


def _pointwise(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, momentum=0.01), nn.ReLU())


class FeaturePyramid(nn.Module):
    """B3, B4, B5 → F3, F4, F5 of `width` channels, along the top-down pathway.

    Args:
        channels: of the trunk's maps, finest first.
        width: channels of every level.
        layout: whether the lower maps join, and ReLU after smoothing.
    """

    def __init__(self, channels: Sequence[int], width: int, layout: Layout) -> None:
        super().__init__()
        self.top = _pointwise(channels[-1], width)
        self.top_pooled = _pointwise(channels[-1], width)
        below = channels[:-1] if layout.lateral else []
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in below)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.smooth_relu = layout.smooth_relu

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C_k, h_k, w_k) maps → (B, width, h_k, w_k) levels, finest first in both."""
        pooled = global_pool(maps[-1]).to(maps[-1].dtype)[:, :, None, None]
        levels = [self.top(maps[-1]) + self.top_pooled(pooled)]
        for i in reversed(range(len(maps) - 1)):
            level = F.interpolate(levels[0], size=maps[i].shape[2:], mode="nearest")
            levels.insert(0, level + self.laterals[i](maps[i]) if self.laterals else level)
        levels = [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]
        return [level.relu() for level in levels] if self.smooth_relu else levels


class TopOnly(nn.Module):
    """No pyramid: the trunk's top map is the only level (Table 2, baseline)."""

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The last of the maps."""
        return [maps[-1]]


class SpatialGate(nn.Module):
    """Eq. 1: a transposed 3×3 convolution to one channel, and a sigmoid.

    It starts as a convolution of as many inputs would. PyTorch takes a transposed one's fan-in from its *outputs*, here
    one: weights √C times as large, with which the sigmoid starts saturated, keeps no gradient and never learns to look.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.ConvTranspose2d(channels, 1, 3, padding=1)
        nn.init.uniform_(self.squeeze.weight, -1 / math.sqrt(9 * channels), 1 / math.sqrt(9 * channels))

    def forward(self, level: Tensor) -> Tensor:
        """(B, C, h, w) → (B, 1, h, w) float32 in 0..1: ROIs are ranked by it, and bf16 would tie them."""
        squeezed: Tensor = self.squeeze(level)
        return squeezed.float().sigmoid()


class ChannelGate(nn.Module):
    """Eq. 2: two linear layers on the pooled level, and a sigmoid."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.layers = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, C) from Eq. 3 → (B, C) float32 in 0..1."""
        excited: Tensor = self.layers(pooled)
        return excited.float().sigmoid()


class AttentionPyramid(nn.Module):
    """The gates of all levels and their bottom-up path.

    Args:
        spec: which gates there are and how they are joined.
        levels: how many.
        width: C, their channels.
    """

    def __init__(self, spec: ApCnnSpec, levels: int, width: int) -> None:
        super().__init__()
        gated = spec.pyramid == "ap"
        spatial, channel = (levels if gated and on else 0 for on in (spec.spatial_gate, spec.channel_gate))
        self.spatial = nn.ModuleList(SpatialGate(width) for _ in range(spatial))
        self.channel = nn.ModuleList(ChannelGate(width, spec.reduction) for _ in range(channel))
        self.pathway = spec.pathway
        self.mean = spec.bottom_up == "mean"

    def forward(self, levels: Sequence[Tensor], pooled: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Gates of (B, C, h, w) levels and their (B, C) means: (B, 1, h, w) and (B, C) each; empty if switched off."""
        spatial = [gate(level) for gate, level in zip(self.spatial, levels, strict=False)]
        channel = [gate(mean) for gate, mean in zip(self.channel, pooled, strict=False)]
        if self.pathway == "spatial":
            spatial = self._joined(spatial)
        if self.pathway == "channel":
            channel = self._joined(channel)
        return spatial, channel

    def _joined(self, gates: list[Tensor]) -> list[Tensor]:
        """Each gate merged with the merged gate below it; a spatial gate is pooled to the coarser size first."""
        merged = gates[:1]
        for gate in gates[1:]:
            below = merged[-1]
            if below.ndim == 4:
                below = F.adaptive_avg_pool2d(below, size_of(gate))
            merged.append((gate + below) / 2 if self.mean else gate + below)
        return merged


def start_as_released(module: nn.Module) -> None:
    """Initialise the layers inside as the authors' released code does, from the device's default random generator.

    Every convolution is He-normal by its fan-out, and so is every linear layer: the channel gates' two are 1×1
    convolutions there. A *transposed* convolution is none and gets PyTorch's own start, ±1/3, with which the spatial
    gates begin saturated (`SpatialGate`). Biases and BatchNorm stay as they are.

    Args:
        module: neck and gates; the classifiers start PyTorch's way in both codes.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(part, nn.ConvTranspose2d):
            part.reset_parameters()


def attended(level: Tensor, pooled: Tensor, spatial: Tensor | None, channel: Tensor | None) -> Tensor:
    """GAP of F' = F · (A_s ⊕ A_c) (Eq. 3, 4), as GAP(F · A_s) + A_c · GAP(F): F' itself is never stored.

    Args:
        level: (B, C, h, w).
        pooled: (B, C), its mean.
        spatial: (B, 1, h, w), channel: (B, C); without either F' = F.

    Returns:
        (B, C) float32.
    """
    parts = [] if spatial is None else [global_pool(level * spatial)]
    if channel is not None:
        parts.append(pooled * channel)
    return torch.stack(parts).sum(0) if parts else pooled


def classifier(inputs: int, hidden: int, num_classes: int) -> nn.Sequential:
    """The two linear layers of a level's classifier, on (B, inputs) pooled features."""
    return nn.Sequential(
        nn.BatchNorm1d(inputs),
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ELU(),
        nn.Linear(hidden, num_classes),
    )


def average(logits: Sequence[Tensor], kind: str) -> Tensor:
    """Mean of (B, K) logits, or the logarithm of the mean of their probabilities; float32."""
    if kind == "logits":
        return torch.stack([one.float() for one in logits]).mean(0)
    return mean_probability(logits)
