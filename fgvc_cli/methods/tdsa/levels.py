"""The network for TDSA-Loss and mutual-channel loss: its two levels (maps), their widths, and the classifier."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgvc_cli.backbones import Backbone, has_stride, set_stride, widen
from fgvc_cli.backbones.build import initialise
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.methods.tdsa import McSpec, TdsaSpec

PUBLISHED = 3  # high-level channels per class
BASIC_BLOCKS = ("resnet18", "resnet34")  # their last stage is widened; a bottleneck already ends in a 1×1 layer


class Levels(NamedTuple):
    """Two maps of a backbone, their channels in the loss, and the size to which the classifier pools the high one."""

    middle: str
    high: str
    middle_width: int  # if it differs from the map's own, an adapter is used
    high_width: int
    pool: int  # side of the pooled map that the classifier reads
    fresh: tuple[str, ...] = ()  # widened layers of the trunk, which are randomly initialised


def build_levels(backbone: Backbone, spec: McSpec | TdsaSpec, num_classes: int, xi: int) -> Levels:
    """Choose the two levels and widen the trunk in place where the paper does.

    VGG: conv4 and conv5, after their last ReLU, are widened to ξ·n·K and n·K channels and pooled to 7×7. ResNet-18 and
    34: the last stage is widened to n·K. Other networks, and the middle level of residual networks, keep their maps; a
    width that differs from the map's own needs an adapter.

    Raises:
        BadRequest: the backbone has fewer than two maps, or with `projection: none` fewer channels than classes.
    """
    middle, high = level_names(backbone)
    vgg = backbone.last != high
    if spec.high_stride == 1 and has_stride(backbone, high):
        set_stride(backbone, high, 1)
    if spec.projection == "none":
        own = backbone.channels
        least = min(own[middle], own[high]) if isinstance(spec, TdsaSpec) else own[high]
        if least < num_classes:
            raise BadRequest(
                f"projection none: {least} channels of {backbone.name} cannot be divided among {num_classes} "
                "classes; use --set method.projection=learned"
            )
        return Levels(middle, high, own[middle], own[high], 7 if vgg else 1)
    width = num_classes * channels_per_class(spec.channels_per_class, backbone.channels[high], num_classes)
    widths = {middle: xi * width, high: width} if vgg else {high: width} if backbone.name in BASIC_BLOCKS else {}
    return Levels(middle, high, xi * width, width, 7 if vgg else 1, tuple(widen(backbone, widths)))


def level_names(backbone: Backbone) -> tuple[str, str]:
    """The middle and the high map: the last two; for a VGG the inputs of its last two pooling layers.

    Raises:
        BadRequest: the backbone has a single map.
    """
    names = backbone.names
    if names[-1].startswith("pool"):
        below = [below for below, name in itertools.pairwise(names) if name.startswith("pool")]
        return below[-2], below[-1]
    if len(names) < 2:
        raise BadRequest(f"backbone {backbone.name} has a single map, but losses on channels need two levels")
    return names[-2], names[-1]


def channels_per_class(asked: int | None, own: int, num_classes: int) -> int:
    """n: the paper's 3 if 3K is at least half of the backbone's own channels, else enough to have at least as many."""
    if asked is not None:
        return asked
    return PUBLISHED if 2 * PUBLISHED * num_classes >= own else -(-own // num_classes)


def adapter(inputs: int, outputs: int) -> nn.Sequential:
    """1×1 convolution, BatchNorm, ReLU; its output is non-negative, like that of a widened layer."""
    layers = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
    initialise(layers)
    return layers


def max_pool_to(features: Tensor, side: int) -> Tensor:
    """(B, C, h, w) → (B, C, side, side) by max pooling; the windows do not overlap if side divides h and w."""
    h, w = features.shape[2:]
    if h % side == 0 and w % side == 0:
        return F.max_pool2d(features, (h // side, w // side))
    if torch.compiler.is_exporting():  # ONNX has no adaptive pooling
        return max_over_bins(features, side)
    return F.adaptive_max_pool2d(features, side)


def max_over_bins(features: Tensor, side: int) -> Tensor:
    """Adaptive max pooling, one axis after the other and bin by bin: bin i is from ⌊i·n/side⌋ to ⌈(i+1)·n/side⌉."""
    for dim in (2, 3):
        n = features.shape[dim]
        bins = [(i * n // side, -(-(i + 1) * n // side)) for i in range(side)]
        parts = [features.narrow(dim, start, end - start).amax(dim, keepdim=True) for start, end in bins]
        features = torch.cat(parts, dim)
    return features


class PooledClassifier(nn.Module):
    """Max pooling → BN → linear → BN → ELU → linear.

    Args:
        channels: C of the map.
        pool: side of the pooled map; 1: global pooling.
        hidden: width between the linear layers.
        num_classes: K.
    """

    def __init__(self, channels: int, pool: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.pool = pool
        inputs = channels * pool * pool
        self.hidden = nn.Sequential(nn.BatchNorm1d(inputs), nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ELU())
        self.output = nn.Linear(hidden, num_classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) → logits (B, K) and their embedding (B, hidden)."""
        embedding = self.hidden(max_pool_to(features, self.pool).flatten(1).float())
        return self.output(embedding), embedding
