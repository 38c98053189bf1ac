"""Scores of grid cells: the cells that a gate keeps (SCAPNet Fig. 8), the contribution of sequence cells (REAPS)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fgvc_cli.methods.base import Evidence, Grid
from fgvc_cli.viz.colours import DARK, SIGNED, WHITE, signed_colours
from fgvc_cli.viz.kinds.boxes import draw_truth, truth_keys
from fgvc_cli.viz.kinds.heat import colour_bar, heat_pixels, plain, speaks_for
from fgvc_cli.viz.pixels import Pixels, Values, blocks, cell_lines, contrasted, dimmed, heated, write
from fgvc_cli.viz.scene import Scene
from fgvc_cli.viz.sheet import Panel, Plot, Row, Strip

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ADDED = "contribution"
_LEAST_CELL = 26  # pixels at 150 dpi: a smaller cell has no room for a number


def has_grid(evidence: Evidence) -> bool:
    """Whether there are grids of scored cells."""
    return any(grid.kind != ADDED for grid in evidence.grids.values())


def has_sequence(evidence: Evidence) -> bool:
    """Whether there are contributions of a sequence's cells to the logit."""
    return any(grid.kind == ADDED for grid in evidence.grids.values())


def grid(scene: Scene) -> Strip:
    """The image, the class's heat map, and every grid: scores as numbers, masked cells pale."""
    found = scene.looked.class_saliency
    drawn = heat_pixels(scene, found.values[scene.position], found.frame)
    draw_truth(drawn, scene)
    panels: list[Panel | Plot] = [plain(scene)]
    panels.append(Panel(drawn, f"{found.kind} of {found.head}", speaks_for(scene, found)))
    facts = {}
    for name, cells in scene.evidence.grids.items():
        if cells.kind != ADDED:
            values = _values(scene, cells)
            facts[name] = np.round(values, 4).tolist()
            panels.append(_cells_panel(scene, name, cells, values))
    panels.append(colour_bar(scene, "0", "1"))
    return Strip((Row(tuple(panels)),), keys=truth_keys(scene), facts={"cells": facts})


def _values(scene: Scene, cells: Grid) -> Values:
    values: Values = cells.values[scene.position].detach().float().cpu().numpy()
    return values


def _cells_panel(scene: Scene, name: str, cells: Grid, values: Values) -> Panel:
    frame = scene.frame(cells.frame)
    laid, inside = blocks(values, frame, scene.size)
    if cells.kind == "mask":
        drawn = dimmed(scene.pixels, inside & (laid > 0.5))
        note = f"{int((values > 0.5).sum())} of {values.size} cells kept"
    else:
        drawn = dimmed(heated(scene.pixels, laid, inside, scene.options.alpha), inside)
        note = "probability of each cell"
    cell_lines(drawn, frame, (values.shape[0], values.shape[1]))
    if cells.kind != "mask":
        _number(drawn, values, frame, scene)
    return Panel(drawn, name, note)


def _number(pixels: Pixels, values: Values, frame: Values, scene: Scene) -> None:
    """Write each cell's value at its centre, if the cells are large enough."""
    rows, columns = values.shape
    width, height = (frame[2] - frame[0]) / columns, (frame[3] - frame[1]) / rows
    if min(width, height) < _LEAST_CELL * scene.options.dpi / 150:
        return
    texts = [
        (
            f"{values[row, column]:.2f}".removeprefix("0"),
            frame[0] + (column + 0.5) * width,
            frame[1] + (row + 0.5) * height,
        )
        for row, column in np.ndindex(rows, columns)
    ]
    write(pixels, texts, min(width / 4.3, height / 2.8, scene.options.dpi / 12), WHITE, DARK)


def sequence(scene: Scene) -> Strip:
    """Each sequence's contributions to the predicted class's logit, on the image and as bars in sequence order."""
    rows = []
    facts = {}
    for name, cells in scene.evidence.grids.items():
        if cells.kind == ADDED:
            values = _values(scene, cells)
            facts[name] = np.round(values, 4).tolist()
            rows.append(_sequence_row(scene, name, cells, values))
    return Strip(tuple(rows), keys=truth_keys(scene), facts={"adds": facts})


def _sequence_row(scene: Scene, name: str, cells: Grid, values: Values) -> Row:
    frame = scene.frame(cells.frame)
    largest = max(float(np.abs(values).max()), 1e-6)
    laid, inside = blocks(values / largest, frame, scene.size)
    drawn = dimmed(contrasted(scene.pixels, laid, inside, scene.options.alpha), inside)
    cell_lines(drawn, frame, (values.shape[0], values.shape[1]))
    draw_truth(drawn, scene)
    predicted = scene.looked.seen.probabilities[scene.position].argmax()
    note = f"for {scene.named(predicted)}"
    height = max(scene.size[0], round(0.6 * scene.side))
    bars = Plot(_bars(values), (height, round(1.5 * scene.side)), "in sequence order", inset=(0.45, 0.36, 0.02, 0.02))
    width = f"{largest:.2g}"
    bar = colour_bar(scene, f"-{width}", f"+{width}", SIGNED)
    return Row((plain(scene), Panel(drawn, name, note), bar, bars))


def _bars(values: Values) -> Callable[[Axes], None]:
    """One bar per cell, in row-major order, with thin lines between the grid's rows."""

    def draw(axes: Axes) -> None:
        flat = values.flatten()
        largest = max(float(np.abs(flat).max()), 1e-6)
        axes.bar(
            np.arange(len(flat)),
            flat,
            width=0.9,
            color=signed_colours(flat / largest) / 255,
            edgecolor="#555555",
            linewidth=0.3,
        )
        for row in range(1, values.shape[0]):
            axes.axvline(row * values.shape[1] - 0.5, color="#bbbbbb", linewidth=0.6)
        axes.axhline(0, color="#333333", linewidth=0.6)
        middles = [row * values.shape[1] + (values.shape[1] - 1) / 2 for row in range(values.shape[0])]
        axes.set_xticks(middles, [str(row + 1) for row in range(values.shape[0])], fontsize=7)
        axes.tick_params(axis="x", length=0, pad=2)
        axes.tick_params(axis="y", labelsize=7, length=2, pad=2)
        axes.set_xlim(-0.8, len(flat) - 0.2)
        axes.set_xlabel("row of cells", fontsize=8, labelpad=2)
        axes.set_ylabel("contribution to the logit", fontsize=8, labelpad=1)
        axes.spines[["top", "right"]].set_visible(False)

    return draw
