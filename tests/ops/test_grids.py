"""Cells, windows, masks and boxes beside literal loops over positions."""

from __future__ import annotations

import pytest
import torch

from fgvc_cli.ops.grids import cell_edges, cell_sums, spread_cells, window_boxes, window_means

SHAPES = [
    ((28, 28), (4, 4)),
    ((28, 28), (3, 3)),
    ((28, 28), (5, 5)),
    ((7, 9), (4, 5)),
    ((3, 5), (3, 2)),
    ((2, 2), (1, 1)),
]


def cell_of(position: int, length: int, cells: int) -> int:
    return position * cells // length


@pytest.mark.parametrize("length", range(1, 30))
def test_edges_share_all_positions_out(length: int) -> None:
    for cells in range(1, length + 1):
        edges = cell_edges(length, cells)
        found = [n for n in range(cells) for _ in range(edges[n], edges[n + 1])]
        assert found == [cell_of(position, length, cells) for position in range(length)]
        assert set(found) == set(range(cells))


@pytest.mark.parametrize(("size", "grid"), SHAPES)
def test_windows_equal_the_mean_over_their_positions(size: tuple[int, int], grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, *size, dtype=torch.float64)
    found = window_means(maps, grid, min(3, *grid))
    for u, means in enumerate(found, 1):
        assert means.shape == (2, 3, grid[0] - u + 1, grid[1] - u + 1)
        for i in range(means.shape[2]):
            for j in range(means.shape[3]):
                rows = [y for y in range(size[0]) if i <= cell_of(y, size[0], grid[0]) < i + u]
                columns = [x for x in range(size[1]) if j <= cell_of(x, size[1], grid[1]) < j + u]
                values = [maps[:, :, y, x] for y in rows for x in columns]
                torch.testing.assert_close(means[:, :, i, j], sum(values) / len(values))


@pytest.mark.parametrize(("size", "grid"), SHAPES)
def test_a_mask_is_spread_over_the_cells_it_was_made_of(size: tuple[int, int], grid: tuple[int, int]) -> None:
    cells = torch.arange(2 * grid[0] * grid[1]).view(2, *grid)
    found = spread_cells(cells, size)
    for y in range(size[0]):
        for x in range(size[1]):
            expected = cells[:, cell_of(y, size[0], grid[0]), cell_of(x, size[1], grid[1])]
            assert torch.equal(found[:, y, x], expected)


@pytest.mark.parametrize(("size", "grid"), SHAPES)
@pytest.mark.parametrize("stride", [16, 8])
def test_boxes_enclose_the_positions_of_the_windows(size: tuple[int, int], grid: tuple[int, int], stride: int) -> None:
    image = (size[0] * stride, size[1] * stride)
    for u in range(1, min(3, *grid) + 1):
        found, n = window_boxes(grid, u, size, image, torch.device("cpu")), 0
        for i in range(grid[0] - u + 1):
            for j in range(grid[1] - u + 1):
                rows = [y for y in range(size[0]) if i <= cell_of(y, size[0], grid[0]) < i + u]
                columns = [x for x in range(size[1]) if j <= cell_of(x, size[1], grid[1]) < j + u]
                expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
                assert found[n].tolist() == [value * stride for value in expected]
                n += 1
        assert n == len(found)


def test_boxes_of_the_paper() -> None:
    """448 pixels, 4×4 cells: parts of 112, 224 and 336 pixels, one cell apart."""
    first, second, third = (window_boxes((4, 4), u, (28, 28), (448, 448), torch.device("cpu")) for u in (1, 2, 3))
    assert [len(boxes) for boxes in (first, second, third)] == [16, 9, 4]
    assert first[5].tolist() == [112, 112, 224, 224]
    assert second[1].tolist() == [112, 0, 336, 224]
    assert third[3].tolist() == [112, 112, 448, 448]


def test_boxes_end_at_the_image_where_the_stride_does_not_divide_it() -> None:
    boxes = window_boxes((3, 3), 1, (7, 7), (100, 107), torch.device("cpu"))
    assert boxes[-1, 2:].tolist() == [107, 100]
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_gradcheck_and_sums() -> None:
    maps = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: window_means(x, (3, 3), 2), maps)
    torch.testing.assert_close(cell_sums(maps, (3, 3)).sum((2, 3)), maps.sum((2, 3)))


def test_means_stay_fp32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        means = window_means(torch.full((1, 1, 28, 28), 1.001), (4, 4), 2)
    assert all(mean.dtype == torch.float32 for mean in means)
    torch.testing.assert_close(means[0], torch.full((1, 1, 4, 4), 1.001))
