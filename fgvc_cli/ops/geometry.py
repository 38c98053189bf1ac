"""Relative geometry of boxes and its encoding in sines and cosines; points through affine maps."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def relative_geometry(boxes: Tensor, least: float = 1e-3) -> Tensor:
    """g of every pair of boxes (SCAPNet, before Eq. 10): log |Δx|/w, log |Δy|/h, and the log ratios of the sides.

    Args:
        boxes: (..., R, 4) xyxy, every side > 0.
        least: lower bound for |Δ|/side, since two centres may coincide.

    Returns:
        (..., R, R, 4): [m, n] is the geometry of box n relative to box m, in units of m's sides.
    """
    centre, side = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    here, there = side[..., :, None, :], side[..., None, :, :]
    away = (centre[..., :, None, :] - centre[..., None, :, :]).abs() / here
    return torch.cat([away.clamp_min(least).log(), (there / here).log()], -1)


@torch.no_grad()
def wave_code(values: Tensor, dims: int = 64, factor: float = 100.0, base: float = 1000.0) -> Tensor:
    """EP of SCAPNet's Eq. 10: encode each of n values as sines and cosines with dims / 2n wavelengths.

    Args:
        values: (..., n).
        dims: dimensions of the encoding, a multiple of 2n.
        factor: multiplies the values.
        base: wavelength i is 2π·base^(i / (dims / 2n)).

    Returns:
        (..., dims): the sines of all values, value by value, then their cosines.

    Source: Hu et al., Relation Networks for Object Detection, https://arxiv.org/abs/1711.11575
    """
    waves = dims // (2 * values.shape[-1])
    length = base ** (torch.arange(waves, device=values.device, dtype=values.dtype) / waves)
    angles = (factor * values[..., None] / length).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], -1)


def to_original(affine: Tensor, points: Tensor) -> Tensor:
    """Apply an affine map (B, 2, 3) to points (B, Q, 2)."""
    return points @ affine[:, :, :2].transpose(1, 2) + affine[:, None, :, 2]


def to_input(affine: Tensor, points: Tensor) -> Tensor:
    """Apply the inverse of an affine map (B, 2, 3) to points (B, Q, 2), in closed form without synchronisation."""
    a, b, c, d = affine[:, 0, 0], affine[:, 0, 1], affine[:, 1, 0], affine[:, 1, 1]
    adjugate = torch.stack([torch.stack([d, -b], 1), torch.stack([-c, a], 1)], 1)  # (B, 2, 2)
    inverse = adjugate / (a * d - b * c)[:, None, None]
    return (points - affine[:, None, :, 2]) @ inverse.transpose(1, 2)
