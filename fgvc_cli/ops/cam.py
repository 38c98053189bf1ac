"""Class activation maps and the connected components of thresholded maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SAME = 1e-6  # of the peak: values that differ by less are equal, as rounding leaves them


@torch.no_grad()
def class_activation(features: Tensor, weight: Tensor, index: Tensor) -> Tensor:
    """Class activation map of one class per image (REAPS Eq. 1), rectified and divided by its maximum.

    The sum is computed in fp32 also under autocast, and without gradient.

    Args:
        features: (B, C, h, w) input of a linear classifier on global average pooling.
        weight: (K, C) that classifier's weight.
        index: (B,) int64 class of each image.

    Returns:
        (B, h, w) float32 in 0..1; all zero if no cell has a positive value for the class.

    Source: Zhou et al., Learning Deep Features for Discriminative Localization, https://arxiv.org/abs/1512.04150
    """
    cam = channel_sum(features, weight.float()[index]).relu()  # Eq. 1
    return over_peak(cam)


def channel_sum(features: Tensor, kernel: Tensor) -> Tensor:
    """Weighted sum over channels in fp32: (B, C, h, w) and weights (B, C) → (B, h, w)."""
    return (features.float() * kernel.float()[:, :, None, None]).sum(1)


def over_peak(maps: Tensor) -> Tensor:
    """Each map (B, h, w) divided by its largest absolute value: within -1..1. A map of zeros stays zero."""
    return maps / maps.abs().amax((1, 2), keepdim=True).clamp_min(1e-6)


def says_where(maps: Tensor) -> Tensor:
    """Which maps point at something: all values finite, some above zero, and not the same everywhere.

    Any other map has no peak, so nothing that depends on one, such as a box above half of it, may be made of it.

    Args:
        maps: (B, h, w).

    Returns:
        (B,) bool.
    """
    flat = maps.flatten(1).float()
    high, low = flat.amax(1), flat.amin(1)
    uneven = high - low > _SAME * high.abs()
    return flat.isfinite().all(1) & (high > 0) & uneven


def component_steps(h: int, w: int) -> int:
    """Number of pooling steps after which every component of any h×w mask has one label.

    The four cells of a 2×2 block all touch one another, so a shortest path between cells that touch at a side or a
    corner visits each block at most twice.
    """
    return 2 * ((h + 1) // 2) * ((w + 1) // 2) - 1


@torch.no_grad()
def component_labels(mask: Tensor) -> Tensor:
    """Label the 8-connected components of a mask: cells that touch at a side or a corner belong together.

    Each cell starts with its own number; 3×3 max pooling inside the mask spreads the highest number of a component in
    a fixed number of steps.

    Args:
        mask: (B, h, w) bool.

    Returns:
        (B, h, w) float32: 0 outside the mask, inside 1 + the row-major position of the component's last cell.
    """
    _, h, w = mask.shape
    inside = mask.float()[:, None]
    numbers = torch.arange(1, h * w + 1, device=mask.device, dtype=torch.float32).view(1, 1, h, w)
    labels = numbers * inside
    for _ in range(component_steps(h, w)):
        labels = F.max_pool2d(labels, 3, stride=1, padding=1) * inside
    return labels[:, 0]


@torch.no_grad()
def largest_component(mask: Tensor) -> Tensor:
    """The component with the most cells; of equally large ones the one whose last cell comes first in row-major order.

    Args:
        mask: (B, h, w) bool.

    Returns:
        (B, h, w) bool; empty if the mask is empty.
    """
    labels = component_labels(mask).flatten(1)  # (B, h·w)
    size = (labels[:, :, None] == labels[:, None, :]).sum(2) * mask.flatten(1)  # (B, h·w) size of the cell's component
    largest = mask.flatten(1) & (size == size.amax(1, keepdim=True))
    first = torch.where(largest, labels, torch.inf).amin(1, keepdim=True)
    return (largest & (labels == first)).view_as(mask)


@torch.no_grad()
def keep_largest_component(cam: Tensor, threshold: float) -> Tensor:
    """Set the cells of a map that exceed `threshold` to zero, except those of the largest component.

    Args:
        cam: (B, h, w) normalised map.
        threshold: cells above it form the components.

    Returns:
        (B, h, w) of the map's dtype; cells at or below the threshold are unchanged.
    """
    mask = cam > threshold
    return torch.where(mask & ~largest_component(mask), torch.zeros_like(cam), cam)
