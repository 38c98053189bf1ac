"""A grid of rows×columns cells on a map: sums over cells, windows of cells, masks, boxes.

Row y of a map of height h belongs to cell row ⌊y·rows/h⌋, so cells do not overlap even if the grid does not divide the
map; columns likewise. A grid has at most as many cells per side as the map has positions. A window of scale u covers
u×u cells; windows have a stride of one cell and are numbered row by row.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor


def cell_edges(length: int, cells: int) -> list[int]:
    """First position of each cell and the end of the last: `cells` + 1 numbers from 0 to `length`."""
    return [-(-n * length // cells) for n in range(cells + 1)]


def _cell_sizes(length: int, cells: int) -> list[int]:
    return [end - start for start, end in itertools.pairwise(cell_edges(length, cells))]


def cell_sums(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, C, h, w) → (B, C, rows, columns): the sum over each cell; no matrix product, so TF32 is never used."""
    for dim, cells in zip((2, 3), grid, strict=True):
        sizes = _cell_sizes(maps.shape[dim], cells)
        maps = torch.stack([part.sum(dim) for part in torch.split(maps, sizes, dim)], dim)
    return maps


def window_means(maps: Tensor, grid: tuple[int, int], scales: int) -> list[Tensor]:
    """Global average pooling over the positions of each window (SCAPNet, Definition 1).

    Args:
        maps: (B, C, h, w).
        grid: (rows, columns) of cells.
        scales: windows have 1×1 to scales×scales cells; at most the grid's shorter side.

    Returns:
        Per scale u (B, C, rows - u + 1, columns - u + 1).
    """
    sums = cell_sums(maps, grid)
    positions = cell_sums(torch.ones_like(maps[:1, :1]), grid)
    windows = range(1, scales + 1)
    return [F.avg_pool2d(sums, u, stride=1) / F.avg_pool2d(positions, u, stride=1) for u in windows]


def spread_cells(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, rows, columns) → (B, h, w): each position gets its cell's value.

    It uses split and expand, whose backward pass is a deterministic sum; indexing's backward pass on a GPU is not.
    """
    (rows, columns), (h, w) = cells.shape[1:], size
    lines = zip(torch.split(cells, 1, 1), _cell_sizes(h, rows), strict=True)
    cells = torch.cat([line.expand(-1, n, -1) for line, n in lines], 1)
    lines = zip(torch.split(cells, 1, 2), _cell_sizes(w, columns), strict=True)
    return torch.cat([line.expand(-1, -1, n) for line, n in lines], 2)


@torch.no_grad()
def window_boxes(
    grid: tuple[int, int], scale: int, map_size: tuple[int, int], size: tuple[int, int], device: torch.device
) -> Tensor:
    """Boxes of the windows of one scale in the image that the map was computed from.

    Args:
        grid: (rows, columns) of cells.
        scale: u.
        map_size: (h, w).
        size: (H, W) of the image.
        device: of the result.

    Returns:
        ((rows - u + 1)·(columns - u + 1), 4) float32 xyxy, half-open.
    """
    y, x = (_edges(h, n, pixels, device) for h, n, pixels in zip(map_size, grid, size, strict=True))
    down, across = grid[0] - scale + 1, grid[1] - scale + 1
    rows = torch.stack([y[:down], y[scale:]], 1)[:, None].expand(down, across, 2)
    columns = torch.stack([x[:across], x[scale:]], 1)[None].expand(down, across, 2)
    return torch.stack([columns[..., 0], rows[..., 0], columns[..., 1], rows[..., 1]], -1).view(-1, 4)


def _edges(length: int, cells: int, pixels: int, device: torch.device) -> Tensor:
    """`cell_edges` in image pixels, created on the device: a list would be copied there, which synchronises."""
    first = (torch.arange(cells + 1, device=device) * length + cells - 1) // cells
    return (first * pixels).float() / length
