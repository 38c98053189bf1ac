"""Anchors and whole cells beside literal loops, and by hand."""

from __future__ import annotations

import pytest
import torch

from fgvc_cli.ops.anchors import anchor_boxes, inner_span, inside, whole_cells


@pytest.mark.parametrize(
    ("cells", "border", "expected"),
    [
        (56, 0.2, (11, 44)),
        (28, 0.2, (5, 22)),
        (14, 0.1, (1, 12)),
        (10, 0.0, (0, 10)),
        (2, 0.2, (0, 1)),
        (1, 0.4, (0, 1)),
    ],
)
def test_rows_and_columns_inside_the_border(cells: int, border: float, expected: tuple[int, int]) -> None:
    span = inner_span(cells, border)
    assert (span.start, span.stop) == expected


@pytest.mark.parametrize(
    ("stride", "side", "image"), [(8, 64.0, (448, 448)), (16, 36.6, (90, 130)), (4, 300.0, (64, 48))]
)
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_anchors_equal_the_literal_loop(stride: int, side: float, image: tuple[int, int], offset: float) -> None:
    h, w = (-(-length // stride) for length in image)
    found = anchor_boxes(range(1, h), range(0, w), stride=stride, side=side, offset=offset, image=image)
    whole, cut = [], []
    for row in range(1, h):
        for column in range(w):
            y, x = min((row + offset) * stride, image[0] - 1), min((column + offset) * stride, image[1] - 1)
            whole.append([x - side / 2, y - side / 2, x + side / 2 + 1, y + side / 2 + 1])
            first = [max(x - side / 2, 0), max(y - side / 2, 0)]
            cut.append([*first, min(x + side / 2, image[1] - 1) + 1, min(y + side / 2, image[0] - 1) + 1])
    torch.testing.assert_close(found, torch.tensor(whole).float())
    torch.testing.assert_close(inside(found, image), torch.tensor(cut).float())


def test_the_published_anchors_by_hand() -> None:
    """At 448, level 3: cell (3, 5) of 8 pixels, 64 a side: centre (40, 24), first to last pixel 8..72, −8..56."""
    box = anchor_boxes(range(3, 4), range(5, 6), stride=8, side=64, offset=0, image=(448, 448))
    assert box.tolist() == [[8, -8, 73, 57]]
    assert inside(box, (448, 448)).tolist() == [[8, 0, 73, 57]]
    corner = anchor_boxes(range(55, 56), range(55, 56), stride=8, side=64, offset=0, image=(448, 448))
    assert inside(corner, (448, 448)).tolist() == [[408, 408, 448, 448]]  # last pixel 447


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([8, 0, 73, 57], [1, 0, 9, 7]),  # last pixels 72 and 56: end exclusive
        ([0, 0, 448, 448], [0, 0, 55, 55]),  # 447 / 8 = 55.9
        ([9, 9, 10, 10], [1, 1, 2, 2]),  # never empty
        ([440, 447, 448, 448], [55, 55, 56, 56]),
    ],
)
def test_whole_cells_by_hand(box: list[float], expected: list[float]) -> None:
    assert whole_cells(torch.tensor([box]).float(), 8, (56, 56)).tolist() == [expected]


def test_whole_cells_stay_inside_a_map_that_leaves_the_last_pixels_out() -> None:
    """Pooling drops what does not divide: 31 pixels are 3 cells of 8."""
    cells = whole_cells(torch.tensor([[24.0, 24, 31, 31], [0, 0, 31, 31]]), 8, (3, 3))
    assert cells.tolist() == [[2, 2, 3, 3], [0, 0, 3, 3]]
