"""REAPS Eq. 2: the boxes of both stages and what is cropped, beside a literal float64 loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fgvc_cli.methods.reaps import PartSequenceNetwork, Reaps, Region
from fgvc_cli.ops.boxes import whole_image
from fgvc_cli.ops.crops import crop_and_resize
from tests.methods.common import images

SIZE = 64


def network(method: Reaps, name: str) -> PartSequenceNetwork:
    found = method.networks[name]
    assert isinstance(found, PartSequenceNetwork)
    return found


def bilinear(cam: list[list[float]], y: float, x: float) -> float:
    """The value at (y, x), counted from the first cell's centre, with the border cells going on forever."""
    h, w = len(cam), len(cam[0])
    y, x = min(max(y, 0.0), h - 1.0), min(max(x, 0.0), w - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
    v, u = y - top, x - left
    upper = cam[top][left] * (1 - u) + cam[top][right] * u
    return upper * (1 - v) + (cam[bottom][left] * (1 - u) + cam[bottom][right] * u) * v


def literal_box(cam: list[list[float]], tau: float, size: tuple[int, int]) -> list[float]:
    """Upsample the normalised CAM pixel by pixel, threshold, enclose."""
    h, w = len(cam), len(cam[0])
    above = [
        (i, j)
        for i in range(size[0])
        for j in range(size[1])
        if bilinear(cam, (i + 0.5) * h / size[0] - 0.5, (j + 0.5) * w / size[1] - 0.5) > tau
    ]
    if not above:
        return [0, 0, size[1], size[0]]
    ys, xs = [i for i, _ in above], [j for _, j in above]
    return [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


def region_of(cam: Tensor, frame: Tensor | None = None, size: int = SIZE) -> tuple[Region, Tensor]:
    """A region whose one-channel map is `cam` (B, h, w), and the weight that makes it the CAM of class 1."""
    batch = len(cam)
    logits = torch.tensor([0.0, 1.0]).expand(batch, 2)
    region = Region(whole_image(batch, size, size) if frame is None else frame, cam[:, None], cam[:, :1, 0], logits)
    return region, torch.tensor([[-1.0], [1.0]])


@pytest.mark.parametrize("tau", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("size", [(64, 64), (40, 72)])
def test_the_box_equals_the_literal_loop(reaps: Callable[..., Reaps], tau: float, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    cams = torch.randn(6, 5, 5).relu() * (torch.rand(6, 5, 5) < 0.3)
    region, weight = region_of(cams, whole_image(6, *size))
    boxes = reaps(tau=tau, min_box=0.001).attended_box(region, weight, size)
    for cam, box in zip(cams.double(), boxes, strict=True):
        normalised = (cam / cam.max().clamp_min(1e-6)).tolist()
        assert box.tolist() == pytest.approx(literal_box(normalised, tau, size))


@pytest.mark.parametrize("kind", ["mask", "largest_component"])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30, -1.0, torch.nan, torch.inf, -torch.inf])
def test_constant_and_empty_cams_attend_the_whole_image(reaps: Callable[..., Reaps], kind: str, value: float) -> None:
    region, weight = region_of(torch.full((2, 4, 4), value))
    assert reaps(box=kind).attended_box(region, weight, (SIZE, SIZE)).tolist() == [[0, 0, SIZE, SIZE]] * 2


@pytest.mark.parametrize("kind", ["mask", "largest_component"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_cam_with_a_cell_that_is_not_finite_attends_the_whole_image(
    reaps: Callable[..., Reaps], kind: str, value: float
) -> None:
    cam = torch.rand(2, 4, 4)
    cam[:, 1, 2] = value
    region, weight = region_of(cam)
    assert reaps(box=kind).attended_box(region, weight, (SIZE, SIZE)).tolist() == [[0, 0, SIZE, SIZE]] * 2


def test_a_tiny_mask_grows_to_an_eighth_inside_the_image(reaps: Callable[..., Reaps]) -> None:
    cams = torch.zeros(2, 32, 32)
    cams[0, 0, 31] = cams[1, 16, 16] = 1
    region, weight = region_of(cams)
    corner, middle = reaps(tau=0.5).attended_box(region, weight, (SIZE, SIZE)).tolist()
    assert corner == [SIZE - 8, 0, SIZE, 8]
    assert [middle[2] - middle[0], middle[3] - middle[1]] == [8, 8]
    assert middle[0] <= 32 <= middle[2] - 1


def test_the_second_stage_composes_its_box_inside_the_first(reaps: Callable[..., Reaps]) -> None:
    cam = torch.zeros(1, 4, 4)
    cam[0, :2, 2:] = 1  # upper right quarter of what the first stage saw
    frame = torch.tensor([[10.0, 20.0, 42.0, 36.0]])
    region, weight = region_of(cam, frame)
    box = reaps(tau=0.5).attended_box(region, weight, (SIZE, SIZE))[0].tolist()
    assert box == [26, 20, 42, 28]


def test_no_gradient_passes_through_the_box(reaps: Callable[..., Reaps]) -> None:
    features = torch.rand(2, 4, 4, 4, requires_grad=True)
    logits = features.mean((2, 3)) @ torch.rand(4, 2)
    region = Region(whole_image(2, SIZE, SIZE), features, features.mean((2, 3)), logits)
    assert not reaps().attended_box(region, torch.rand(2, 4, requires_grad=True), (SIZE, SIZE)).requires_grad


def inputs_of(module: nn.Module) -> list[Tensor]:
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    return seen


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80)])
def test_crops_come_from_the_original_input_at_its_size(reaps: Callable[..., Reaps], height: int, width: int) -> None:
    method = reaps(stages=2, tau=0.5)
    batch = images(3, height, width)
    first, second = (inputs_of(network(method, name).backbone) for name in ("psn", "psn2"))
    found = method(batch, evidence=True).evidence
    assert found is not None
    for crops, stage in ((first, "ran"), (second, "psn")):
        expected = crop_and_resize(batch, found.boxes[stage].xyxy, (height, width))[:, 0]
        assert torch.equal(crops[0], expected)
    outer, inner = found.boxes["ran"].xyxy[:, 0], found.boxes["psn"].xyxy[:, 0]
    assert (inner[:, :2] >= outer[:, :2] - 1e-4).all()
    assert (inner[:, 2:] <= outer[:, 2:] + 1e-4).all()
    assert (inner[:, 2:] - inner[:, :2] >= torch.tensor([width / 8, height / 8]) - 1e-4).all()


def test_each_network_attends_its_own_first_class(reaps: Callable[..., Reaps]) -> None:
    output = reaps(stages=2)(images(), evidence=True)
    assert output.evidence is not None
    for name in ("ran", "psn_global", "psn2_global"):
        classes = output.evidence.maps[name].classes
        assert classes is not None
        assert torch.equal(classes[:, 0], output.branches[name].argmax(1))


def boxes_of(method: Reaps, batch: Tensor) -> Tensor:
    found = method(batch, evidence=True).evidence
    assert found is not None
    return found.boxes["ran"].xyxy[:, 0]


def sides(boxes: Tensor) -> Tensor:
    return boxes[:, 2:] - boxes[:, :2]


def test_field_tau(reaps: Callable[..., Reaps]) -> None:
    low, high = (boxes_of(reaps(tau=tau, min_box=0.01), images()) for tau in (0.1, 0.9))
    assert (sides(high) <= sides(low)).all()
    assert (sides(high) < sides(low)).any()


def test_field_box(reaps: Callable[..., Reaps]) -> None:
    cam = torch.zeros(1, 8, 8)
    cam[0, 1:4, 1:4] = 1
    cam[0, 7, 7] = 1
    region, weight = region_of(cam)
    assert reaps(tau=0.5).attended_box(region, weight, (SIZE, SIZE)).tolist() == [[8, 8, 64, 64]]
    largest = reaps(tau=0.5, box="largest_component").attended_box(region, weight, (SIZE, SIZE))
    assert largest.tolist() == [[8, 8, 32, 32]]


@pytest.mark.parametrize("share", [0.125, 0.5, 1.0])
def test_field_min_box(reaps: Callable[..., Reaps], share: float) -> None:
    cam = torch.zeros(1, 32, 32)
    cam[0, 5, 9] = 1
    region, weight = region_of(cam)
    box = reaps(min_box=share, tau=0.5).attended_box(region, weight, (SIZE, SIZE))
    assert sides(box).tolist() == [[share * SIZE, share * SIZE]]
