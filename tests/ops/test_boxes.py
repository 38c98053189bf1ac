"""Boxes beside literal loops over cells."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou as torchvision_iou

from fgvc_cli.ops.boxes import box_area, box_iou, box_of_mask, compose_boxes, grow_boxes, whole_image


def literal_box(mask: Tensor) -> list[float]:
    h, w = mask.shape
    cells = [(y, x) for y in range(h) for x in range(w) if mask[y, x]]
    if not cells:
        return [0, 0, w, h]
    ys, xs = [y for y, _ in cells], [x for _, x in cells]
    return [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5, 1.0])
def test_box_of_mask_equals_the_literal_loop(share: float) -> None:
    torch.manual_seed(0)
    masks = torch.rand(12, 9, 13) < share
    boxes = box_of_mask(masks)
    assert boxes.dtype == torch.float32
    assert boxes.tolist() == [literal_box(mask) for mask in masks]


def test_box_of_one_cell_is_half_open() -> None:
    mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    mask[0, 4, 2] = True
    assert box_of_mask(mask).tolist() == [[2, 4, 3, 5]]


def test_whole_image() -> None:
    assert whole_image(2, 3, 5).tolist() == [[0, 0, 5, 3]] * 2


@pytest.mark.parametrize(
    ("box", "grown"),
    [
        ([10, 10, 60, 70], [10, 10, 60, 70]),  # large enough: as it is
        ([40, 40, 44, 80], [37, 40, 47, 80]),  # one side, about the centre
        ([0, 98, 1, 100], [0, 90, 10, 100]),  # shifted inside at two edges
        ([99, 0, 100, 100], [90, 0, 100, 100]),
    ],
)
def test_grow_boxes(box: list[float], grown: list[float]) -> None:
    assert grow_boxes(torch.tensor([box]), (10, 10), whole_image(1, 100, 100)).tolist() == [grown]


def test_grow_boxes_takes_height_and_width_and_never_leaves_its_bounds() -> None:
    bounds = torch.tensor([[20.0, 30.0, 26.0, 90.0]])
    assert grow_boxes(torch.tensor([[22.0, 40.0, 23.0, 41.0]]), (20, 10), bounds).tolist() == [[20, 30.5, 26, 50.5]]
    torch.manual_seed(0)
    corner = torch.rand(200, 2) * 90
    boxes = torch.cat([corner, corner + torch.rand(200, 2) * 10], 1)
    grown = grow_boxes(boxes, (12.5, 12.5), whole_image(200, 100, 100))
    assert (grown[:, :2] >= 0).all()
    assert (grown[:, 2:] <= 100).all()
    assert (grown[:, 2:] - grown[:, :2] >= 12.5 - 1e-4).all()
    assert (grown[:, :2] <= boxes[:, :2] + 1e-4).all()
    assert (grown[:, 2:] >= boxes[:, 2:] - 1e-4).all()


def test_compose_boxes() -> None:
    frame = torch.tensor([[10.0, 20.0, 60.0, 120.0], [0.0, 0.0, 100.0, 100.0]])
    boxes = torch.tensor([[[0.0, 0.0, 100.0, 100.0], [50.0, 25.0, 100.0, 50.0]]] * 2)
    composed = compose_boxes(frame, boxes, (100, 100))
    assert composed[0].tolist() == [[10, 20, 60, 120], [35, 45, 60, 70]]
    assert composed[1].tolist() == boxes[1].tolist()


def test_compose_boxes_of_a_crop_that_is_not_square() -> None:
    composed = compose_boxes(
        torch.tensor([[10.0, 10.0, 30.0, 20.0]]), torch.tensor([[[20.0, 5.0, 40.0, 10.0]]]), (10, 40)
    )
    assert composed.tolist() == [[[20, 15, 30, 20]]]


def test_iou_equals_torchvision() -> None:
    torch.manual_seed(0)
    corner = torch.rand(3, 6, 2) * 5
    boxes = torch.cat([corner, corner + torch.rand(3, 6, 2) * 5], -1)
    found = box_iou(boxes[:, :2], boxes[:, 2:])
    assert found.shape == (3, 2, 4)
    for b in range(3):
        torch.testing.assert_close(found[b], torchvision_iou(boxes[b, :2], boxes[b, 2:]))


def test_iou_of_empty_boxes_is_zero_and_areas_are_never_negative() -> None:
    empty = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    assert box_iou(empty, empty).tolist() == [[0]]
    assert box_area(torch.tensor([[5.0, 0.0, 2.0, 4.0], [1.0, 2.0, 3.0, 5.0]])).tolist() == [0, 6]
