"""CAM (REAPS Eq. 1) and components, beside literal loops, a flood fill and torchcam."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchcam.methods import CAM

from fgvc_cli.ops.cam import (
    class_activation,
    component_labels,
    component_steps,
    keep_largest_component,
    largest_component,
    says_where,
)


def literal_cam(features: Tensor, weight: Tensor, index: Tensor) -> Tensor:
    """Eq. 1 cell by cell: RA = sum over k of W_k f_k(x, y); then rectified and divided by its largest value."""
    batch, channels, h, w = features.shape
    result = torch.zeros(batch, h, w, dtype=torch.float64)
    for b in range(batch):
        for y in range(h):
            for x in range(w):
                value = 0.0
                for k in range(channels):
                    value += float(weight[index[b], k]) * float(features[b, k, y, x])
                result[b, y, x] = max(value, 0.0)
        result[b] /= max(float(result[b].max()), 1e-6)
    return result


def flood_fill(mask: Tensor) -> list[list[int]]:
    """Components of one (h, w) mask as sorted lists of row-major positions, cells touching at corners joined."""
    h, w = mask.shape
    left = {y * w + x for y in range(h) for x in range(w) if mask[y, x]}
    components = []
    while left:
        stack, found = [min(left)], []
        left.discard(stack[0])
        while stack:
            cell = stack.pop()
            found.append(cell)
            y, x = divmod(cell, w)
            for v in range(max(y - 1, 0), min(y + 2, h)):
                for u in range(max(x - 1, 0), min(x + 2, w)):
                    if v * w + u in left:
                        left.discard(v * w + u)
                        stack.append(v * w + u)
        components.append(sorted(found))
    return components


@pytest.mark.parametrize(("batch", "channels", "h", "w"), [(3, 5, 4, 6), (1, 1, 1, 1), (2, 7, 5, 3)])
def test_cam_equals_the_literal_loop(batch: int, channels: int, h: int, w: int) -> None:
    torch.manual_seed(0)
    features = torch.randn(batch, channels, h, w, dtype=torch.float64)
    weight = torch.randn(9, channels, dtype=torch.float64)
    index = torch.randint(0, 9, (batch,))
    cam = class_activation(features, weight, index)
    assert cam.dtype == torch.float32
    torch.testing.assert_close(cam.double(), literal_cam(features, weight, index), rtol=1e-5, atol=1e-5)


def test_cam_equals_torchcam() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()
    images = torch.randn(4, 3, 12, 10)
    with CAM(model, "1", fc_layer="4") as extractor:
        scores = model(images)
        classes = scores.argmax(1)
        raw = extractor(classes.tolist(), scores, normalized=False)[0].relu()
    expected = raw / raw.amax((1, 2), keepdim=True).clamp_min(1e-6)
    fully_connected = model[4]
    assert isinstance(fully_connected, nn.Linear)
    torch.testing.assert_close(class_activation(model[:2](images), fully_connected.weight, classes), expected)


def test_cam_is_zero_where_nothing_speaks_for_the_class() -> None:
    cam = class_activation(torch.ones(2, 3, 4, 4), -torch.ones(5, 3), torch.tensor([0, 4]))
    assert not cam.any()
    assert not class_activation(torch.zeros(1, 3, 4, 4), torch.ones(5, 3), torch.tensor([0])).any()


def test_constant_cam_is_one_everywhere() -> None:
    assert (class_activation(torch.ones(1, 3, 4, 4), torch.ones(5, 3), torch.tensor([2])) == 1).all()


def test_which_maps_say_where() -> None:
    maps = torch.rand(9, 3, 4) + 0.1
    maps[1] *= -1
    maps[2] = 0
    maps[3] = 0.7
    maps[4] = 0.7 + 1e-7 * maps[4]  # equal, but for rounding
    maps[5, 1, 2] = torch.nan
    maps[6, 1, 2] = torch.inf
    maps[7] *= 1e-30
    maps[8, 1:] *= -1
    assert says_where(maps).tolist() == [True, False, False, False, False, False, False, True, True]
    assert says_where(maps.bfloat16()).tolist() == says_where(maps).tolist()


def test_cam_stays_in_fp32_under_autocast_and_passes_no_gradient() -> None:
    torch.manual_seed(0)
    features, weight = torch.rand(2, 64, 7, 7, requires_grad=True), torch.randn(3, 64, requires_grad=True)
    index = torch.tensor([0, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cam = class_activation(features, weight, index)
    assert cam.dtype == torch.float32
    assert not cam.requires_grad
    assert torch.equal(cam, class_activation(features, weight, index))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.data())
def test_components_equal_a_flood_fill(h: int, w: int, data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.booleans(), min_size=h * w, max_size=h * w))
    mask = torch.tensor(cells).view(1, h, w)
    labels = component_labels(mask)[0].flatten()
    expected = torch.zeros(h * w)
    components = flood_fill(mask[0])
    for component in components:
        expected[component] = component[-1] + 1
    assert torch.equal(labels, expected)

    found = largest_component(mask)[0].flatten().nonzero().flatten().tolist()
    largest = max((len(c) for c in components), default=0)
    assert found == min((c for c in components if len(c) == largest), key=lambda c: c[-1], default=[])


def spiral(n: int) -> Tensor:
    """A one-cell-wide path that winds inwards, no two of its turns touching: the longest way a label has to go."""
    mask = torch.zeros(n, n, dtype=torch.bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0] = True

    def inside(v: int, u: int) -> bool:
        return 0 <= v < n and 0 <= u < n

    def free(v: int, u: int) -> bool:
        return inside(v, u) and not bool(mask[v, u])

    turned = 0
    while turned < 2:
        beyond = y + 2 * dy, x + 2 * dx
        if free(y + dy, x + dx) and (not inside(*beyond) or free(*beyond)):
            y, x, turned = y + dy, x + dx, 0
            mask[y, x] = True
        else:
            dy, dx, turned = dx, -dy, turned + 1
    return mask


@pytest.mark.parametrize("n", [7, 14, 15, 28])
def test_the_steps_reach_along_a_spiral(n: int) -> None:
    mask = spiral(n)[None]
    assert len(flood_fill(mask[0])) == 1
    assert component_labels(mask).unique().numel() == 2
    assert mask.sum() <= component_steps(n, n) + 1 + n  # corners are cut, so the path is shorter than its cells


def test_only_the_largest_component_is_kept() -> None:
    cam = torch.tensor([[[1.0, 0.5, 0.05, 0.9], [0.4, 0.05, 0.05, 0.9], [0.0, 0.0, 0.0, 0.0], [0.8, 0.0, 0.0, 0.1]]])
    kept = keep_largest_component(cam, 0.1)
    expected = torch.tensor([[[1.0, 0.5, 0.05, 0], [0.4, 0.05, 0.05, 0], [0, 0, 0, 0], [0, 0, 0, 0.1]]])
    assert torch.equal(kept, expected)


def test_components_of_a_batch_do_not_mix() -> None:
    torch.manual_seed(0)
    masks = torch.rand(6, 9, 11) < 0.4
    together = largest_component(masks)
    for i in range(6):
        assert torch.equal(together[i], largest_component(masks[i : i + 1])[0])
