"""Channel groups and Eq. 3, 5, 7 of TDSA-Loss beside literal float64 loops, for even and uneven groups."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fgvc_cli.errors import BadRequest
from fgvc_cli.ops.channels import (
    ChannelGroups,
    Upsample,
    aligned_channels,
    channel_classes,
    channel_groups,
    channel_rows,
    class_diversity,
    class_maximum,
    class_scores,
    draw_channel_mask,
    top_down_attention,
)

SHARES = [(6, 3), (7, 3), (8, 3), (5, 5), (11, 2), (9, 1)]  # C, K


def maps_of(channels: int, h: int = 3, w: int = 4, batch: int = 2) -> Tensor:
    torch.manual_seed(channels)
    return torch.randn(batch, channels, h, w, dtype=torch.float64)


def sizes_of(groups: ChannelGroups) -> list[int]:
    """Channels of each class."""
    return [groups.channels // groups.classes + (k >= groups.smaller) for k in range(groups.classes)]


def members(groups: ChannelGroups) -> list[list[int]]:
    """The channels of each class, counted off one by one."""
    channel = itertools.count()
    return [[next(channel) for _ in range(size)] for size in sizes_of(groups)]


# ---------------------------------------------------------------- groups


@given(st.integers(1, 60), st.integers(0, 300))
def test_groups_are_contiguous_even_and_the_smaller_come_first(classes: int, more: int) -> None:
    groups = channel_groups(classes + more, classes)
    of_class = channel_classes(groups)
    assert of_class.tolist() == sorted(of_class.tolist())
    sizes = torch.bincount(of_class).tolist()
    assert sizes == [size for count, size in groups.runs for _ in range(count)] == sizes_of(groups)
    assert len(sizes) == classes
    assert sum(sizes) == classes + more
    assert sizes == sorted(sizes)
    assert sizes[-1] - sizes[0] <= 1
    rows = torch.arange(classes + more)[None]
    assert torch.equal(torch.cat(groups.split(rows), 1), rows)


def test_groups_by_hand() -> None:
    assert channel_groups(512, 200).runs == ((88, 2), (112, 3))
    assert channel_groups(600, 200).runs == ((200, 3),)
    assert channel_groups(8, 3).runs == ((1, 2), (2, 3))


@pytest.mark.parametrize(("channels", "classes"), [(3, 4), (0, 1), (5, 0)])
def test_too_few_channels(channels: int, classes: int) -> None:
    with pytest.raises(BadRequest, match="cannot be divided among"):
        channel_groups(channels, classes)


@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 40))
def test_channels_meet_within_their_class(classes: int, high_more: int, middle_more: int) -> None:
    high, middle = channel_groups(classes + high_more, classes), channel_groups(classes + middle_more, classes)
    expected = []
    for above, below in zip(members(high), members(middle), strict=True):
        expected += [above[m * len(above) // len(below)] for m in range(len(below))]
    assert aligned_channels(high, middle).tolist() == expected


def test_each_high_channel_is_repeated_side_by_side() -> None:
    assert aligned_channels(channel_groups(4, 2), channel_groups(12, 2)).tolist() == [
        0,
        0,
        0,
        1,
        1,
        1,
        2,
        2,
        2,
        3,
        3,
        3,
    ]


# ---------------------------------------------------------------- the mask


@pytest.mark.parametrize(("channels", "classes"), SHARES)
def test_half_of_each_class_s_channels_are_kept(channels: int, classes: int) -> None:
    groups = channel_groups(channels, classes)
    torch.manual_seed(0)
    masks = torch.stack([draw_channel_mask(groups) for _ in range(50)])
    assert masks.shape == (50, channels)
    assert set(masks.unique().tolist()) <= {0.0, 1.0}
    for channel in members(groups):
        assert (masks[:, channel].sum(1) == math.ceil(len(channel) / 2)).all()
        if len(channel) > 1:
            assert (masks[:, channel].mean(0) - math.ceil(len(channel) / 2) / len(channel)).abs().max() < 0.35
    torch.manual_seed(0)
    assert torch.equal(draw_channel_mask(groups), masks[0])  # the default generator alone decides


def test_every_subset_is_drawn_about_as_often() -> None:
    torch.manual_seed(0)
    groups = channel_groups(4, 1)
    drawn = [tuple(draw_channel_mask(groups).tolist()) for _ in range(1200)]
    counts = [drawn.count(mask) for mask in set(drawn)]
    assert len(counts) == 6
    assert min(counts) > 140


# ---------------------------------------------------------------- Eq. 3


def literal_scores(maps: Tensor, groups: ChannelGroups, mask: list[float]) -> list[list[float]]:
    found = []
    for image in maps.tolist():
        row = []
        for channels in members(groups):
            h, w = len(image[0]), len(image[0][0])
            total = 0.0
            for j in range(h):
                for k in range(w):
                    total += max(mask[m] * image[m][j][k] for m in channels)
            row.append(total / (h * w))
        found.append(row)
    return found


@pytest.mark.parametrize(("channels", "classes"), SHARES)
@pytest.mark.parametrize("rectified", [True, False])
def test_eq_3(channels: int, classes: int, rectified: bool) -> None:
    groups, maps = channel_groups(channels, classes), maps_of(channels)
    maps = maps.relu() if rectified else maps
    mask = draw_channel_mask(groups).double()
    found = class_scores(channel_rows(maps), groups, mask)
    torch.testing.assert_close(found, torch.tensor(literal_scores(maps, groups, mask.tolist())).double())
    every = class_scores(channel_rows(maps), groups)
    torch.testing.assert_close(every, torch.tensor(literal_scores(maps, groups, [1.0] * channels)).double())


def test_eq_3_by_hand() -> None:
    maps = torch.tensor([[[[1.0, -4.0]], [[3.0, -2.0]], [[9.0, -9.0]], [[5.0, 6.0]]]])
    groups = channel_groups(4, 2)
    assert class_scores(channel_rows(maps), groups).tolist() == [[0.5, 7.5]]  # (3 - 2)/2, (9 + 6)/2
    assert class_scores(channel_rows(maps), groups, torch.tensor([1.0, 0, 1, 0])).tolist() == [[0.5, 4.5]]  # (1 + 0)/2


def test_one_of_equal_channels_gets_the_gradient() -> None:
    maps = torch.ones(1, 3, 2, 2, requires_grad=True)
    class_scores(channel_rows(maps), channel_groups(3, 1)).sum().backward()
    assert maps.grad is not None
    assert maps.grad[0, :, 0, 0].tolist() == [0.25, 0, 0]


def test_a_masked_channel_gets_no_gradient() -> None:
    maps = torch.tensor([[[[5.0]], [[1.0]], [[2.0]]]], requires_grad=True)
    class_scores(channel_rows(maps), channel_groups(3, 1), torch.tensor([0.0, 1, 1])).sum().backward()
    assert maps.grad is not None
    assert maps.grad.flatten().tolist() == [0, 0, 1]


# ---------------------------------------------------------------- Eq. 5


def literal_diversity(maps: Tensor, groups: ChannelGroups) -> list[list[float]]:
    found = []
    for image in maps.flatten(2).tolist():
        shares = [[math.exp(v) / sum(math.exp(u) for u in channel) for v in channel] for channel in image]
        found.append(
            [sum(max(shares[m][p] for m in channels) for p in range(len(image[0]))) for channels in members(groups)]
        )
    return found


@pytest.mark.parametrize(("channels", "classes"), SHARES)
def test_eq_5(channels: int, classes: int) -> None:
    groups, maps = channel_groups(channels, classes), maps_of(channels)
    expected = torch.tensor(literal_diversity(maps, groups)).double()
    torch.testing.assert_close(class_diversity(channel_rows(maps), groups), expected, rtol=1e-6, atol=1e-6)
    per_channel = class_diversity(channel_rows(maps), groups, per_channel=True)
    sizes = torch.tensor(sizes_of(groups))
    torch.testing.assert_close(per_channel, expected / sizes, rtol=1e-6, atol=1e-6)
    assert (expected >= 1 - 1e-6).all()
    assert (expected <= sizes + 1e-6).all()


def test_diversity_is_least_for_equal_channels_and_largest_for_peaks_apart() -> None:
    groups = channel_groups(3, 1)
    equal = torch.randn(1, 1, 2, 2).expand(1, 3, 2, 2)
    apart = torch.zeros(1, 3, 2, 2)
    for m in range(3):
        apart[0, m, m // 2, m % 2] = 50
    assert class_diversity(channel_rows(equal), groups).item() == pytest.approx(1)
    assert class_diversity(channel_rows(apart), groups).item() == pytest.approx(3)


@pytest.mark.parametrize(("channels", "classes"), [(6, 3), (8, 3)])
def test_gradients_of_both(channels: int, classes: int) -> None:
    groups = channel_groups(channels, classes)
    mask = draw_channel_mask(groups).double()
    maps = maps_of(channels, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: class_scores(channel_rows(x), groups, mask), maps)
    assert torch.autograd.gradcheck(lambda x: class_diversity(channel_rows(x), groups, per_channel=True), maps)


def test_memory_format_and_precision() -> None:
    groups, maps = channel_groups(8, 3), maps_of(8).float()
    rows = channel_rows(maps.to(memory_format=torch.channels_last))
    assert rows.is_contiguous()
    assert torch.equal(rows, channel_rows(maps))
    assert channel_rows(maps.bfloat16()).dtype == torch.float32
    assert class_maximum(rows, groups).shape == (2, 3, 12)


# ---------------------------------------------------------------- Eq. 7


@pytest.mark.parametrize(
    ("high_channels", "middle_channels", "classes"), [(6, 18, 3), (6, 6, 3), (7, 17, 3), (5, 3, 2)]
)
@pytest.mark.parametrize("size", [(2, 2), (4, 6), (3, 5)])
def test_eq_7_nearest(high_channels: int, middle_channels: int, classes: int, size: tuple[int, int]) -> None:
    high, middle = maps_of(high_channels, 2, 2), maps_of(middle_channels, *size)
    of_high, of_middle = channel_groups(high_channels, classes), channel_groups(middle_channels, classes)
    found = top_down_attention(middle, high, (of_middle, of_high))
    for above, below in zip(members(of_high), members(of_middle), strict=True):
        for m, channel in enumerate(below):
            source = above[m * len(above) // len(below)]
            for b, y, x in itertools.product(range(2), range(size[0]), range(size[1])):
                gate = 1 / (1 + math.exp(-high[b, source, y * 2 // size[0], x * 2 // size[1]].item()))
                assert found[b, channel, y, x].item() == pytest.approx(middle[b, channel, y, x].item() * gate)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("middle_channels", [12, 13])
def test_eq_7_upsamples_before_the_sigmoid(mode: Upsample, middle_channels: int) -> None:
    high, middle = maps_of(6, 2, 3), maps_of(middle_channels, 4, 6)
    groups = channel_groups(middle_channels, 3), channel_groups(6, 3)
    every = high[:, aligned_channels(groups[1], groups[0])]
    larger = F.interpolate(every, (4, 6), mode=mode, align_corners=None if mode == "nearest" else False)
    torch.testing.assert_close(top_down_attention(middle, high, groups, mode), middle * larger.sigmoid())
    check = (middle[:1, :, :2, :3].requires_grad_(), high[:1].requires_grad_())
    assert torch.autograd.gradcheck(lambda m, h: top_down_attention(m, h, groups, mode), check)
