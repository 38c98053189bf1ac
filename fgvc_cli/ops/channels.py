"""Channels that belong to classes: contiguous groups, and the functions of the mutual-channel and top-down losses.

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
    """C channels divided among K classes in order: each class has ⌊C/K⌋ or one more; those with fewer come first."""

    channels: int
    classes: int

    @property
    def least(self) -> int:
        """Number of channels in a smaller group."""
        return self.channels // self.classes

    @property
    def smaller(self) -> int:
        """Number of classes with a smaller group."""
        return self.classes - self.channels % self.classes

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """(number of classes, channels per class) of each run of equal groups: one run if K divides C, else two."""
        rest = self.classes - self.smaller
        return ((self.smaller, self.least), *(((rest, self.least + 1),) if rest else ()))

    def split(self, rows: Tensor) -> list[Tensor]:
        """(B, C, ...) → one view (B, channels of the run, ...) per run."""
        return list(torch.split(rows, [classes * size for classes, size in self.runs], 1))


def channel_groups(channels: int, classes: int) -> ChannelGroups:
    """Divide C channels among K classes.

    Raises:
        BadRequest: there are fewer channels than classes.
    """
    if not 0 < classes <= channels:
        raise BadRequest(f"{channels} channels cannot be divided among {classes} classes: each class needs one")
    return ChannelGroups(channels, classes)


def channel_classes(groups: ChannelGroups, device: torch.device | None = None) -> Tensor:
    """(C,) int64: the class of each channel."""
    channel = torch.arange(groups.channels, device=device)
    border = groups.smaller * groups.least
    larger = groups.smaller + (channel - border).div(groups.least + 1, rounding_mode="floor")
    return torch.where(channel < border, channel.div(groups.least, rounding_mode="floor"), larger)


def aligned_channels(high: ChannelGroups, middle: ChannelGroups, device: torch.device | None = None) -> Tensor:
    """(C_l,) int64: the high-level channel that attends each middle-level channel, both of the same class.

    Of a class's n_l middle-level and n_h high-level channels, middle channel m is attended by high channel
    ⌊m·n_h/n_l⌋. For n_l = ξ·n_h each high channel is repeated ξ times in a row (section IV-D.1).
    """
    of_class = channel_classes(middle, device)

    def start(groups: ChannelGroups) -> Tensor:
        return of_class * groups.least + (of_class - groups.smaller).clamp_min(0)

    def size(groups: ChannelGroups) -> Tensor:
        return groups.least + (of_class >= groups.smaller).long()

    m = torch.arange(middle.channels, device=device) - start(middle)
    return start(high) + (m * size(high)).div(size(middle), rounding_mode="floor")


def channel_rows(maps: Tensor) -> Tensor:
    """(B, C, h, w) → (B, C, P) in at least fp32, contiguous, so each channel's positions are adjacent in memory.

    The losses read every value several times, so one copy from the channels-last format saves time overall.
    """
    return maps.flatten(2).to(torch.promote_types(maps.dtype, torch.float32)).contiguous()


@torch.no_grad()
def draw_channel_mask(groups: ChannelGroups, device: torch.device | None = None) -> Tensor:
    """Random mask of channel-wise attention (CWA, Eq. 3): ⌈n/2⌉ of the n channels of each class are 1.

    Returns:
        (C,) float32 of 0 and 1, from the device's default random generator.
    """
    masks: list[Tensor] = []
    for classes, size in groups.runs:
        rank = torch.rand(classes, size, device=device).argsort(1).argsort(1)
        masks.append((rank < (size + 1) // 2).flatten())
    return torch.cat(masks).float()


@torch.no_grad()
def _winners(rows: Tensor, size: int) -> Tensor:
    """Index of the largest of each `size` adjacent channels, at each position; of equal values the first.

    (B, C, P) → (B, C/size, P) int64 in 0..C-1. On a CPU, pooling over channels is several times faster than max(dim);
    unlike with amax, only one channel gets the gradient.
    """
    return F.max_pool1d(rows.transpose(1, 2), size, return_indices=True)[1].transpose(1, 2)


def class_maximum(rows: Tensor, groups: ChannelGroups, mask: Tensor | None = None) -> Tensor:
    """Cross-channel max pooling (CCMP) of masked channels: the inner part of Eq. 3.

    Args:
        rows: (B, C, P).
        groups: of the C channels.
        mask: (C,) of 0 and 1, of the rows' dtype, as from `draw_channel_mask`; None: all channels.

    Returns:
        (B, K, P): at each position the maximum over a class's channels; a masked channel counts as 0.
    """
    masked = rows if mask is None else rows * mask[:, None]  # CWA
    parts = zip(groups.split(masked), groups.runs, strict=True)
    found = [part.gather(1, _winners(part, size)) for part, (_, size) in parts]
    return torch.cat(found, 1) if len(found) > 1 else found[0]


def class_scores(rows: Tensor, groups: ChannelGroups, mask: Tensor | None = None) -> Tensor:
    """g(F^i) of Eq. 3: CWA, CCMP, global average pooling. (B, C, P) → (B, K); `mask` (C,) or None."""
    return class_maximum(rows, groups, mask).mean(2)


def class_diversity(rows: Tensor, groups: ChannelGroups, *, per_channel: bool = False) -> Tensor:
    """h(F^i) of Eq. 5, the diversity: it is larger the less the channels of a class overlap.

    Args:
        rows: (B, C, P).
        groups: of the C channels.
        per_channel: divide by n, the number of channels of the class.

    Returns:
        (B, K) in 1..n, with `per_channel` in 1/n..1; the minimum if the channels of the class have equal softmax maps.
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
        groups: of C_l and of C_h; `aligned_channels` gives the pairs of channels, each pair of one class.
        mode: upsampling mode.

    Returns:
        (B, C_l, h, w).
    """
    of_middle, of_high = groups
    gate = _gate(high, (middle.shape[2], middle.shape[3]), mode)
    repeats, rest = divmod(of_middle.least, of_high.least)
    if rest == 0 and of_middle.channels == repeats * of_high.channels and len(of_high.runs) == 1:
        of_each = torch.unflatten(middle, 1, (of_high.channels, repeats))
        return (of_each * gate[:, :, None]).flatten(1, 2)  # repeats each high channel by broadcasting, without a copy
    return middle * gate.index_select(1, aligned_channels(of_high, of_middle, high.device))


def _gate(high: Tensor, size: tuple[int, int], mode: Upsample) -> Tensor:
    if mode == "nearest":  # only repeats values, so the sigmoid is computed on fewer values before upsampling
        return F.interpolate(high.sigmoid(), size, mode="nearest")
    return F.interpolate(high, size, mode=mode, align_corners=False).sigmoid()
