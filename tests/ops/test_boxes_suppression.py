"""Batched greedy NMS beside torchvision's image by image and a literal loop with the +1-pixel IoU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import nms

from fgvc_cli.ops.boxes import greedy_top_k, overlapping


def some_boxes(count: int, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    corner = torch.rand(count, 2) * 60
    return torch.cat([corner, corner + 1 + torch.rand(count, 2) * 40], 1)


def literal(boxes: list[list[float]], scores: list[float], valid: list[bool], k: int, iou: float) -> list[int]:
    """Coordinates are first and last pixel, both inside: a side is x2 − x1 + 1 long."""
    left = sorted((i for i in range(len(boxes)) if valid[i]), key=lambda i: (-scores[i], i))
    kept: list[int] = []
    while left and len(kept) < k:
        best, *left = left
        kept.append(best)
        left = [i for i in left if inclusive_iou(boxes[best], boxes[i]) <= iou]
    return kept


def inclusive_iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize(("k", "iou"), [(1, 0.05), (5, 0.05), (4, 0.5), (40, 0.3), (3, 1.0)])
def test_it_selects_what_torchvision_selects_image_by_image(k: int, iou: float, planned: bool) -> None:
    boxes = some_boxes(30)
    scores, valid = torch.rand(6, 30), torch.rand(6, 30) < 0.7
    index, kept = greedy_top_k(boxes, scores, valid, k, iou, overlapping(boxes, iou) if planned else None)
    assert index.shape == kept.shape == (6, k)
    for b in range(6):
        candidates = valid[b].nonzero()[:, 0]
        expected = candidates[nms(boxes[candidates], scores[b][candidates], iou)[:k]]
        assert index[b][kept[b]].tolist() == expected.tolist()
        assert kept[b].tolist() == [True] * len(expected) + [False] * (k - len(expected))


@pytest.mark.parametrize("iou", [0.05, 0.3])
def test_half_open_boxes_give_the_plus_one_convention(iou: float) -> None:
    boxes = some_boxes(40).round()
    scores, valid = torch.rand(3, 40).double(), torch.ones(3, 40, dtype=torch.bool)
    index, kept = greedy_top_k(boxes + torch.tensor([0, 0, 1, 1]), scores, valid, 7, iou)
    for b in range(3):
        assert index[b][kept[b]].tolist() == literal(boxes.tolist(), scores[b].tolist(), valid[b].tolist(), 7, iou)


def test_ties_go_to_the_lowest_index() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [10, 0, 14, 4], [1, 0, 5, 4], [20, 0, 24, 4]])
    index, kept = greedy_top_k(boxes, torch.full((2, 4), 0.5), torch.ones(2, 4, dtype=torch.bool), 3, 0.05)
    assert index.tolist() == [[0, 1, 3]] * 2
    assert kept.all()


def test_an_image_without_valid_boxes_keeps_none_and_leaves_the_others_alone() -> None:
    boxes, scores = some_boxes(9), torch.rand(2, 9)
    valid = torch.tensor([[False] * 9, [True] * 9])
    index, kept = greedy_top_k(boxes, scores, valid, 4, 0.5)
    assert not kept[0].any()
    assert kept[1].any()
    assert (index < 9).all()


def test_scores_stay_as_they_were() -> None:
    scores = torch.rand(2, 9)
    before = scores.clone()
    greedy_top_k(some_boxes(9), scores, torch.ones(2, 9, dtype=torch.bool), 4, 0.5)
    assert torch.equal(scores, before)


def test_the_matrix_is_made_in_pieces_and_whole_in_the_end() -> None:
    boxes = some_boxes(600)
    near = overlapping(boxes, 0.4)
    assert near.shape == (600, 600)
    assert torch.equal(near, near.T)
    assert near.diagonal().all()
    for i, j in [(0, 1), (17, 301), (599, 2), (255, 256)]:
        a, b = ([*box[:2], box[2] - 1, box[3] - 1] for box in (boxes[i].tolist(), boxes[j].tolist()))
        assert bool(near[i, j]) == (inclusive_iou(a, b) > 0.4)
