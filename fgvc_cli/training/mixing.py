"""Label smoothing, mixup and CutMix of a batch on its device: labels become (B, K) probabilities.

torchvision's MixUp and CutMix are not used: they draw one λ for a whole batch, from the CPU's generator, and their
label weights are Python numbers. Here λ is drawn for each image, from the device's default random generator (whose
state is checkpointed, so that a resumed run mixes in the same way), and no value is read from the device.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fgvc_cli.data.types import Batch
from fgvc_cli.spec.regularise import RegulariseSpec


def regularise(batch: Batch, spec: RegulariseSpec, num_classes: int) -> Batch:
    """Smooth the labels and mix the images of a batch, as the spec asks. Images are (B, 3, H, W) float.

    If everything is off, labels stay (B,) int64; else they become (B, K) float32 whose rows sum to 1. Each image is
    mixed with its neighbour in the batch: the order is random already, and the neighbour is never the image itself.
    """
    if not spec.label_smoothing and not spec.mixes:
        return batch
    labels = smooth(batch.labels, num_classes, spec.label_smoothing)
    if not spec.mixes:
        return replace(batch, labels=labels)
    height, width = batch.images.shape[2:]
    own = own_pixels(len(labels), (height, width), spec, batch.images.device)
    return replace(
        batch,
        images=torch.lerp(neighbour(batch.images), batch.images, own),
        # In CutMix each pixel comes from one image, so the mean is the exact share: sums stay below 2^24.
        labels=torch.lerp(neighbour(labels), labels, own.mean((2, 3))),
    )


def smooth(labels: Tensor, num_classes: int, epsilon: float) -> Tensor:
    """(B,) int64 → (B, K) float32: 1 - ε + ε/K for the class, ε/K for each other (arXiv 1512.00567, section 7)."""
    others = epsilon / num_classes
    soft = torch.full((len(labels), num_classes), others, device=labels.device)
    return soft.scatter_(1, labels[:, None], 1 - epsilon + others)


def neighbour(values: Tensor) -> Tensor:
    """(B, ...) → the previous image's value, in the same memory format (torch.roll would lose channels-last)."""
    return torch.cat([values[-1:], values[:-1]])


def own_pixels(batch: int, size: tuple[int, int], spec: RegulariseSpec, device: torch.device) -> Tensor:
    """The weight of the image itself in each mixed pixel: (B, 1, H, W) or (B, 1, 1, 1) float32 in 0..1.

    If both mixup and CutMix are on, each image gets one of them, with probability 1/2 each.
    """
    # MPS cannot sample a Beta distribution, and its generator is not checkpointed; the CPU's is.
    source = torch.device("cpu") if device.type == "mps" else device
    mixup, cutmix = spec.mixup_alpha > 0, spec.cutmix_alpha > 0
    own = torch.ones(batch, 1, 1, 1, device=source)
    if mixup:
        own = beta(batch, spec.mixup_alpha, source).view(-1, 1, 1, 1)
    if cutmix:
        outside = outside_box(beta(batch, spec.cutmix_alpha, source), size)
        choice = torch.rand(batch, 1, 1, 1, device=source) < 0.5
        own = torch.where(choice, own, outside) if mixup else outside
    mixed = torch.rand(batch, 1, 1, 1, device=source) < spec.mix_probability
    return torch.where(mixed, own, 1.0).to(device)


def beta(count: int, alpha: float, device: torch.device) -> Tensor:
    """(count,) float32 samples of Beta(α, α), one per image."""
    both = torch.full((count,), alpha, device=device)
    return torch.distributions.Beta(both, both, validate_args=False).sample()  # validation would wait for the device


def outside_box(kept: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 1, H, W) float32: 0 inside a box of each image, 1 outside.

    arXiv 1905.04899, section 3.1: the centre is uniform and the sides are √(1 - λ) of the image's. The part of the box
    beyond the border is cut off, so λ is computed again from the pixels.

    Args:
        kept: (B,) λ, the share of the image to keep.
        size: (H, W).
    """
    centre = torch.rand(2, len(kept), 1, device=kept.device)
    half = (1 - kept).sqrt()[:, None] / 2
    inside: list[Tensor] = []
    for pixels, middle in zip(size, centre, strict=True):
        first, last = ((middle - half) * pixels).round(), ((middle + half) * pixels).round()
        place = torch.arange(pixels, device=kept.device)
        inside.append((place >= first) & (place < last))  # (B, H), (B, W)
    box = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return 1 - box.float()
