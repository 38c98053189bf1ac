"""crop_and_resize beside interpolate on integer boxes and a literal loop on any box."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fgvc_cli.ops.crops import crop_and_resize


def integer_boxes(batch: int, count: int, h: int, w: int) -> Tensor:
    """Random boxes with corners on whole pixels, at least one pixel a side."""
    x1, y1 = torch.randint(0, w, (batch, count)), torch.randint(0, h, (batch, count))
    x2 = x1 + 1 + (torch.rand(batch, count) * (w - x1)).long()
    y2 = y1 + 1 + (torch.rand(batch, count) * (h - y1)).long()
    return torch.stack([x1, y1, x2.clamp_max(w), y2.clamp_max(h)], -1)


def literal_crop(image: Tensor, box: list[float], size: int) -> Tensor:
    """One (C, h, w) image, one box: each sample clamped to the centres of the box's border pixels, then bilinear."""
    _, h, w = image.shape
    x1, y1, x2, y2 = box
    result = torch.zeros(image.shape[0], size, size, dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            y = min(max(y1 + (i + 0.5) * (y2 - y1) / size - 0.5, y1), y2 - 1)
            x = min(max(x1 + (j + 0.5) * (x2 - x1) / size - 0.5, x1), x2 - 1)
            top, left = math.floor(y), math.floor(x)
            for v, weight_y in ((top, 1 - (y - top)), (top + 1, y - top)):
                for u, weight_x in ((left, 1 - (x - left)), (left + 1, x - left)):
                    result[:, i, j] += weight_y * weight_x * image[:, min(v, h - 1), min(u, w - 1)]
    return result


@pytest.mark.parametrize("size", [1, 4, 7, 31])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_integer_boxes_equal_interpolate(size: int, dtype: torch.dtype) -> None:
    torch.manual_seed(size)
    maps = torch.randn(5, 3, 19, 23, dtype=dtype)
    boxes = integer_boxes(5, 4, 19, 23)
    crops = crop_and_resize(maps, boxes.float(), size)
    assert crops.shape == (5, 4, 3, size, size)
    assert crops.dtype == dtype
    for b in range(5):
        for r in range(4):
            x1, y1, x2, y2 = boxes[b, r].tolist()
            cut = maps[b : b + 1, :, y1:y2, x1:x2]
            expected = F.interpolate(cut, (size, size), mode="bilinear", align_corners=False)[0]
            torch.testing.assert_close(crops[b, r], expected, rtol=1e-5, atol=1e-5)


def test_the_paper_s_size_equals_interpolate() -> None:
    """At 448 on white noise fp32 positions, interpolate's own too, are good to some 1e-5 of a pixel: fp64 proves it."""
    torch.manual_seed(0)
    images, boxes = torch.rand(1, 3, 448, 448), torch.tensor([[[101.0, 57.0, 333.0, 448.0]]])
    cut = images.double()[..., 57:448, 101:333]
    expected = F.interpolate(cut, (448, 448), mode="bilinear", align_corners=False)
    torch.testing.assert_close(crop_and_resize(images.double(), boxes, 448)[:, 0], expected)
    torch.testing.assert_close(crop_and_resize(images, boxes, 448)[:, 0].double(), expected, rtol=0, atol=8e-5)


def test_any_box_equals_the_literal_loop() -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 2, 12, 17, dtype=torch.float64)
    corner = torch.rand(3, 5, 2, dtype=torch.float64) * torch.tensor([14.0, 9.0])
    room = torch.tensor([17.0, 12.0]) - corner
    boxes = torch.cat([corner, corner + 1 + torch.rand(3, 5, 2, dtype=torch.float64) * (room - 1)], -1)
    crops = crop_and_resize(maps, boxes, 6)
    for b in range(3):
        for r in range(5):
            torch.testing.assert_close(crops[b, r], literal_crop(maps[b], boxes[b, r].tolist(), 6))


@pytest.mark.parametrize("box", [[0, 0, 3, 3], [6, 0, 9, 3], [0, 5, 3, 8], [6, 5, 9, 8], [8, 7, 9, 8]])
def test_nothing_beyond_the_box_is_read(box: list[float]) -> None:
    maps = torch.full((1, 1, 8, 9), 1000.0)
    x1, y1, x2, y2 = (int(v) for v in box)
    maps[..., y1:y2, x1:x2] = 1
    assert torch.allclose(crop_and_resize(maps, torch.tensor([[box]]), 16), torch.ones(()), atol=1e-2)


def test_the_whole_map_at_its_own_size_is_itself() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 10, 14)
    box = torch.tensor([0.0, 0.0, 14.0, 10.0]).expand(2, 1, 4)
    torch.testing.assert_close(crop_and_resize(maps, box, (10, 14))[:, 0], maps, rtol=1e-5, atol=1e-5)


def test_a_box_narrower_than_a_pixel_reads_its_middle() -> None:
    maps = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 4, 8)
    crop = crop_and_resize(maps, torch.tensor([[[3.4, 0.0, 3.8, 4.0]]]), 3)
    assert torch.allclose(crop, torch.full((), 3.1), atol=1e-5)  # 3.6 is 0.1 right of the centre of pixel 3


def test_gradient_passes_to_the_maps_and_not_to_the_boxes() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[[0.3, 1.2, 4.7, 4.9], [2.0, 0.0, 6.0, 5.0]]], dtype=torch.float64).repeat(2, 1, 1)
    assert torch.autograd.gradcheck(lambda value: crop_and_resize(value, boxes, 3), (maps,))
    leaf = boxes.clone().requires_grad_()
    crop_and_resize(maps, leaf, 3).sum().backward()
    assert leaf.grad is None


def test_half_precision_maps_are_sampled_in_fp32() -> None:
    torch.manual_seed(0)
    maps = torch.randn(1, 2, 16, 16).bfloat16()
    boxes = torch.tensor([[[3.0, 2.0, 11.0, 15.0]]])
    crops = crop_and_resize(maps, boxes, 8)
    assert crops.dtype == torch.bfloat16
    assert torch.equal(crops, crop_and_resize(maps.float(), boxes, 8).bfloat16())


class Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_one_grid_sample_for_the_batch() -> None:
    with Count() as count:
        crop_and_resize(torch.randn(4, 3, 16, 16), torch.rand(4, 5, 4).sort().values * 16, 8)
    assert sum("grid_sampler" in name for name in count.names) == 1
