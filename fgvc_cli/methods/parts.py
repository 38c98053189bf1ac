"""Functions that several methods use: pooling, cross entropy, evidence of a linear head."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fgvc_cli.methods.base import Maps
from fgvc_cli.ops.boxes import whole_image
from fgvc_cli.ops.cam import class_activation


def global_pool(features: Tensor) -> Tensor:
    """(B, C, h, w) → (B, C) float32: global average pooling, in fp32 also under autocast."""
    return features.float().mean((2, 3))


def size_of(maps: Tensor) -> tuple[int, int]:
    """(h, w) of (B, C, h, w)."""
    return maps.shape[2], maps.shape[3]


def mean_probability(logits: Sequence[Tensor]) -> Tensor:
    """Logarithm of the mean probability over several (B, K) logits; (B, K) float32, usable as logits."""
    stacked = torch.stack([one.float() for one in logits])
    return stacked.log_softmax(2).logsumexp(0) - math.log(len(logits))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy in fp32, averaged over images; `labels` (B,) int64 or (B, K) probabilities."""
    return F.cross_entropy(logits.float(), labels.float() if labels.is_floating_point() else labels)


def image_frame(images: Tensor) -> Tensor:
    """(B, 3, H, W) → (B, 4): one box per image that covers the whole image."""
    batch, _, height, width = images.shape
    return whole_image(batch, height, width, images.device)


@torch.no_grad()
def predicted_cam(features: Tensor, weight: Tensor, logits: Tensor, frame: Tensor) -> Maps:
    """CAM of the predicted class, as evidence: features (B, C, h, w), weight (K, C), logits (B, K)."""
    top = logits.argmax(1)
    return Maps("cam", class_activation(features, weight, top)[:, None], frame, top[:, None])


def carried(maps: Mapping[str, Tensor], names: Sequence[str]) -> Tensor | None:
    """What a backbone carries along beside a map it is to go on from (`Backbone.beside`); None if nothing."""
    return maps[names[0]] if names else None


@torch.no_grad()
def strength(features: Tensor) -> Tensor:
    """(B, C, h, w) → (B, 1, h, w) float32: root mean square over the channels."""
    return features.float().square().mean(1, keepdim=True).sqrt()


def precise(values: Tensor) -> Tensor:
    """The values in at least fp32, also under autocast."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
