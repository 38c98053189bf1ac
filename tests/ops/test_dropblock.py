"""AP-CNN Eq. 5 and 6 beside a literal float64 loop."""

from __future__ import annotations

import torch
from torch import Tensor

from fgvc_cli.ops.dropblock import cells_inside, dropblock

BOXES = torch.tensor([[1.0, 0, 4, 2], [0, 0, 7, 5], [2, 3, 3, 4]])


def literal(maps: Tensor, boxes: list[list[int]], present: list[bool], within: list[list[int]]) -> Tensor:
    found = maps.clone()
    for b, (x1, y1, x2, y2) in enumerate(boxes):
        total = ones = 0
        mask = torch.ones(maps.shape[2:]).double()
        for i in range(maps.shape[2]):
            for j in range(maps.shape[3]):
                if present[b] and y1 <= i < y2 and x1 <= j < x2:
                    mask[i, j] = 0  # Eq. 5
                u1, v1, u2, v2 = within[b]
                if v1 <= i < v2 and u1 <= j < u2:
                    total, ones = total + 1, ones + int(mask[i, j])
        found[b] = maps[b] * mask * total / max(ones, 1)  # Eq. 6
    return found


def compare(present: list[bool], within: Tensor) -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 2, 5, 7, dtype=torch.float64)
    found = dropblock(maps, BOXES, torch.tensor(present), within)
    cells = [[[int(v) for v in box] for box in boxes.tolist()] for boxes in (BOXES, within)]
    torch.testing.assert_close(found, literal(maps, cells[0], present, cells[1]))


def test_it_equals_the_literal_loop_over_the_map() -> None:
    whole = torch.tensor([0.0, 0, 7, 5]).expand(3, 4)
    compare([True, True, True], whole)
    compare([True, False, False], whole)


def test_it_equals_the_literal_loop_inside_a_crop() -> None:
    compare([True, True, True], torch.tensor([[0.0, 1, 5, 4], [1, 1, 3, 3], [2, 2, 7, 5]]))


def test_by_hand() -> None:
    maps = torch.ones(1, 1, 2, 4)
    found = dropblock(maps, torch.tensor([[0.0, 0, 2, 1]]), torch.tensor([True]), torch.tensor([[0.0, 0, 4, 2]]))
    torch.testing.assert_close(found[0, 0], torch.tensor([[0, 0, 8 / 6, 8 / 6], [8 / 6] * 4]))


def test_an_image_without_a_box_stays_bit_for_bit() -> None:
    maps = torch.randn(2, 3, 5, 7)
    whole = torch.tensor([0.0, 0, 7, 5]).expand(2, 4)
    assert torch.equal(dropblock(maps, BOXES[:2], torch.tensor([False, False]), whole), maps)


def test_a_box_over_everything_leaves_zeros_and_no_nan() -> None:
    maps = torch.randn(1, 3, 5, 7)
    whole = torch.tensor([[0.0, 0, 7, 5]])
    assert not dropblock(maps, whole, torch.tensor([True]), whole).any()


def test_gradient() -> None:
    maps = torch.randn(3, 2, 5, 7, dtype=torch.float64, requires_grad=True)
    whole = torch.tensor([0.0, 0, 7, 5]).expand(3, 4)
    assert torch.autograd.gradcheck(lambda x: dropblock(x, BOXES, torch.tensor([True, True, False]), whole), (maps,))


def test_type_is_kept_and_cells_are_half_open() -> None:
    maps = torch.ones(1, 1, 5, 7, dtype=torch.bfloat16)
    assert dropblock(maps, BOXES[:1], torch.tensor([True]), BOXES[1:2]).dtype == torch.bfloat16
    assert cells_inside(BOXES[:1], 5, 7)[0].sum() == 6
