"""Channels that belong to classes: contiguous groups, and what mutual-channel and top-down losses make of them.

Letters: B images, K classes, C channels, n channels of one class, P positions (h·w). Equations are those of
Chang et al., Fine-Grained Visual Classification via Simultaneously Learning of Multi-regional Multi-grained Features
(TDSA-Loss), whose Eq. 1 to 6 are the mutual-channel loss, https://arxiv.org/abs/2002.04264.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fgvc_cli.errors import BadRequest

Upsample = Literal["nearest", "bilinear", "bicubic"]


class ChannelGroups(NamedTuple):
    """C channels shared out among K classes in order: each has ⌊C/K⌋ or one more, those with fewer come first."""

    channels: int
    classes: int

    @property
    def least(self) -> int:
        """Channels of a smaller group."""
        return self.channels // self.classes

    @property
    def smaller(self) -> int:
        """How many classes have a smaller group."""
        return self.classes - self.channels % self.classes

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """(classes, channels of each) of neighbours that have as many: one run where K divides C, else two."""
        rest = self.classes - self.smaller
        return ((self.smaller, self.least), *(((rest, self.least + 1),) if rest else ()))

    def split(self, rows: Tensor) -> list[Tensor]:
        """(B, C, ...) → a view (B, channels of the run, ...) for each run."""
        return list(torch.split(rows, [classes * size for classes, size in self.runs], 1))


def channel_groups(channels: int, classes: int) -> ChannelGroups:
    """Share C channels out among K classes.

    Raises:
        BadRequest: there are fewer channels than classes.
    """
    if not 0 < classes <= channels:
        raise BadRequest(f"{channels} channels cannot be shared out among {classes} classes: each needs one")
    return ChannelGroups(channels, classes)


def channel_classes(groups: ChannelGroups, device: torch.device | None = None) -> Tensor:
    """(C,) int64: the class of each channel."""
    channel = torch.arange(groups.channels, device=device)
    border = groups.smaller * groups.least
    larger = groups.smaller + (channel - border).div(groups.least + 1, rounding_mode="floor")
    return torch.where(channel < border, channel.div(groups.least, rounding_mode="floor"), larger)


def aligned_channels(high: ChannelGroups, middle: ChannelGroups, device: torch.device | None = None) -> Tensor:
    """(C_l,) int64: the high-level channel that attends each middle-level one, both of the same class.

    Middle channel m of a class's n_l takes its high channel ⌊m·n_h/n_l⌋: with n_l = ξ·n_h each high channel is
    repeated ξ times, side by side (section IV-D.1).
    """
    of_class = channel_classes(middle, device)

    def start(groups: ChannelGroups) -> Tensor:
        return of_class * groups.least + (of_class - groups.smaller).clamp_min(0)

    def size(groups: ChannelGroups) -> Tensor:
        return groups.least + (of_class >= groups.smaller).long()

    m = torch.arange(middle.channels, device=device) - start(middle)
    return start(high) + (m * size(high)).div(size(middle), rounding_mode="floor")


def channel_rows(maps: Tensor) -> Tensor:
    """(B, C, h, w) → (B, C, P) at least fp32, each channel's positions side by side in memory.

    What follows reads every value several times: one copy out of channels-last pays for itself.
    """
    return maps.flatten(2).to(torch.promote_types(maps.dtype, torch.float32)).contiguous()


@torch.no_grad()
def draw_channel_mask(groups: ChannelGroups, device: torch.device | None = None) -> Tensor:
    """Mask of channel-wise attention (CWA, Eq. 3): ⌈n/2⌉ ones at random among the n channels of each class.

    Returns:
        (C,) float32 of 0 and 1, drawn from the device's default generator.
    """
    masks: list[Tensor] = []
    for classes, size in groups.runs:
        rank = torch.rand(classes, size, device=device).argsort(1).argsort(1)
        masks.append((rank < (size + 1) // 2).flatten())
    return torch.cat(masks).float()


@torch.no_grad()
def _winners(rows: Tensor, size: int) -> Tensor:
    """Which channel is the largest of each `size` neighbours, at each position; the first of equals.

    (B, C, P) → (B, C/size, P) int64 in 0..C-1. Pooling over channels finds it several times faster than max(dim) on a
    CPU, and unlike amax hands the gradient to one channel.
    """
    return F.max_pool1d(rows.transpose(1, 2), size, return_indices=True)[1].transpose(1, 2)


def class_maximum(rows: Tensor, groups: ChannelGroups, mask: Tensor | None = None) -> Tensor:
    """Cross-channel max pooling (CCMP) of masked channels: the inner part of Eq. 3.

    Args:
        rows: (B, C, P).
        groups: of the C channels.
        mask: (C,) of 0 and 1 and of the rows' type, as `draw_channel_mask` gives; none: all channels.

    Returns:
        (B, K, P): at each position the largest of a class's channels, a masked one counting as 0.
    """
    masked = rows if mask is None else rows * mask[:, None]  # CWA
    parts = zip(groups.split(masked), groups.runs, strict=True)
    found = [part.gather(1, _winners(part, size)) for part, (_, size) in parts]
    return torch.cat(found, 1) if len(found) > 1 else found[0]


def class_scores(rows: Tensor, groups: ChannelGroups, mask: Tensor | None = None) -> Tensor:
    """g(F^i) of Eq. 3: CWA, CCMP, global average pooling. (B, C, P) → (B, K); `mask` (C,) or none."""
    return class_maximum(rows, groups, mask).mean(2)


def class_diversity(rows: Tensor, groups: ChannelGroups, *, per_channel: bool = False) -> Tensor:
    """h(F^i) of Eq. 5: how little the channels of a class overlap.

    Args:
        rows: (B, C, P).
        groups: of the C channels.
        per_channel: divide by the number n of a class's channels.

    Returns:
        (B, K) in 1..n, or 1/n..1: the least where a class's channels all look alike.
    """
    overlap = class_maximum(rows.softmax(2), groups).sum(2)  # softmax over the positions of each channel
    if not per_channel:
        return overlap
    parts = [part / size for part, (_, size) in zip(_by_run(overlap, groups), groups.runs, strict=True)]
    return torch.cat(parts, 1)


def _by_run(values: Tensor, groups: ChannelGroups) -> list[Tensor]:
    """(B, K, ...) → the classes of each run."""
    return list(torch.split(values, [classes for classes, _ in groups.runs], 1))


def top_down_attention(
    middle: Tensor, high: Tensor, groups: tuple[ChannelGroups, ChannelGroups], mode: Upsample = "nearest"
) -> Tensor:
    """F^l' = F^l ⊗ sigmoid(upsample(F^h)), Eq. 7; differentiable in both.

    Args:
        middle: F^l (B, C_l, h, w).
        high: F^h (B, C_h, h', w').
        groups: of C_l and of C_h; channels meet within their class, as `aligned_channels` tells.
        mode: of upsampling.

    Returns:
        (B, C_l, h, w).
    """
    of_middle, of_high = groups
    gate = _gate(high, (middle.shape[2], middle.shape[3]), mode)
    repeats, rest = divmod(of_middle.least, of_high.least)
    if rest == 0 and of_middle.channels == repeats * of_high.channels and len(of_high.runs) == 1:
        of_each = torch.unflatten(middle, 1, (of_high.channels, repeats))
        return (of_each * gate[:, :, None]).flatten(1, 2)  # each high channel repeated without a copy
    return middle * gate.index_select(1, aligned_channels(of_high, of_middle, high.device))


def _gate(high: Tensor, size: tuple[int, int], mode: Upsample) -> Tensor:
    if mode == "nearest":  # repeats values: the sigmoid of a quarter of them says the same
        return F.interpolate(high.sigmoid(), size, mode="nearest")
    return F.interpolate(high, size, mode=mode, align_corners=False).sigmoid()
