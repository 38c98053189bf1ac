"""Label smoothing, mixup and CutMix of a batch on its device: labels become (B, K) probabilities.

torchvision's MixUp and CutMix are not used: they draw one λ for a whole batch, from the CPU's generator, and their
label weights are Python numbers. Here each image has dice of its own, drawn from the device's default generator (whose
state is checkpointed, so that a resumed run mixes alike), and no value is read back.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fgvc_cli.data.types import Batch
from fgvc_cli.spec.regularise import RegulariseSpec


def regularise(batch: Batch, spec: RegulariseSpec, num_classes: int) -> Batch:
    """The batch as a step trains on it, its images (B, 3, H, W) float.

    Labels stay (B,) int64 where everything is off, else they are (B, K) float32 whose rows sum to 1. An image's partner
    is its neighbour in the batch: the order is random already, and it is never the image itself.
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
        # A pixel is wholly one image's in CutMix, so the mean is the exact share: sums stay below 2^24.
        labels=torch.lerp(neighbour(labels), labels, own.mean((2, 3))),
    )


def smooth(labels: Tensor, num_classes: int, epsilon: float) -> Tensor:
    """(B,) int64 → (B, K) float32: 1 - ε + ε/K for the class, ε/K for each other (arXiv 1512.00567, section 7)."""
    others = epsilon / num_classes
    soft = torch.full((len(labels), num_classes), others, device=labels.device)
    return soft.scatter_(1, labels[:, None], 1 - epsilon + others)


def neighbour(values: Tensor) -> Tensor:
    """(B, ...) → the value of the image before, in the same memory format (torch.roll would lose channels-last)."""
    return torch.cat([values[-1:], values[:-1]])


def own_pixels(batch: int, size: tuple[int, int], spec: RegulariseSpec, device: torch.device) -> Tensor:
    """(B, 1, H, W) or (B, 1, 1, 1) float32 in 0..1: how much of each pixel is the image's own, the rest its partner's.

    Where both kinds are on, each image is blended or cut with probability 1/2.
    """
    # MPS can draw no Beta; its generator is not checkpointed either, the CPU's is.
    dice = torch.device("cpu") if device.type == "mps" else device
    blended, cut = spec.mixup_alpha > 0, spec.cutmix_alpha > 0
    own = torch.ones(batch, 1, 1, 1, device=dice)
    if blended:
        own = beta(batch, spec.mixup_alpha, dice).view(-1, 1, 1, 1)
    if cut:
        outside = outside_box(beta(batch, spec.cutmix_alpha, dice), size)
        choice = torch.rand(batch, 1, 1, 1, device=dice) < 0.5
        own = torch.where(choice, own, outside) if blended else outside
    mixed = torch.rand(batch, 1, 1, 1, device=dice) < spec.mix_probability
    return torch.where(mixed, own, 1.0).to(device)


def beta(count: int, alpha: float, device: torch.device) -> Tensor:
    """(count,) float32 draws of Beta(α, α), one an image."""
    both = torch.full((count,), alpha, device=device)
    return torch.distributions.Beta(both, both, validate_args=False).sample()  # validation would wait for the device


def outside_box(kept: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 1, H, W) float32: 0 inside a box of each image, 1 outside.

    arXiv 1905.04899, section 3.1: its centre is uniform, its sides are √(1 - λ) of the image's, and what reaches beyond
    the border is lost, so that λ is counted again from pixels.

    Args:
        kept: (B,) λ, the share of the image that is to stay.
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
