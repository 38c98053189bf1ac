"""Functions that several methods use: pooling, cross entropy, evidence of a linear head."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fgvc_cli.backbones import Backbone
from fgvc_cli.methods.base import Evidence, Head, Maps
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


def linear_evidence(
    backbone: Backbone,
    images: Tensor,
    top: Tensor,
    pooled: Tensor,
    logits: Tensor,
    weight: Tensor | None,
    *,
    whole: bool,
) -> Evidence:
    """Evidence of a classifier on the pooled top map: a CAM, exact where the average of the map is read linearly.

    Elsewhere the activation of the map.

    Args:
        backbone: whose top map it is.
        images: (B, 3, H, W).
        top: (B, C, h, w).
        pooled: (B, D), what the classifier reads.
        logits: (B, K).
        weight: (K, D); None: the classifier is not linear.
        whole: whether the network's own embedding is read, not the average of the map.
    """
    frame = image_frame(images)
    read = backbone.positions(top) if whole else top
    if read is None or weight is None:
        maps = Maps("activation", strength(top), frame)
        head = Head(top, None, frame)
    else:
        maps = predicted_cam(read, weight, logits, frame)
        head = Head(read, weight, frame)
    return Evidence(maps={"final": maps}, heads={"final": head}, embedding=pooled.detach())


def carried(maps: Mapping[str, Tensor], names: Sequence[str]) -> Tensor | None:
    """What a backbone carries along beside a map it is to go on from (`Backbone.beside`); None if nothing."""
    return maps[names[0]] if names else None


@torch.no_grad()
def strength(features: Tensor) -> Tensor:
    """(B, C, h, w) → (B, 1, h, w) float32: root mean square over the channels."""
    return features.float().square().mean(1, keepdim=True).sqrt()
