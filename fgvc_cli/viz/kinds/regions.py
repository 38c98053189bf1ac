"""Boxes: AP-CNN's ROI pyramid (Fig. 5), parts by scale (SCAPNet Fig. 10), and relations among parts (Eq. 11)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fgvc_cli.methods.base import Evidence
from fgvc_cli.viz.colours import DARK, WHITE, Colour, table
from fgvc_cli.viz.kinds.boxes import draw_boxes, draw_truth, set_colours, truth_keys
from fgvc_cli.viz.pixels import Pixels, Values, bordered, outline, text_width, write
from fgvc_cli.viz.scene import Scene
from fgvc_cli.viz.sheet import Key, Panel, Plot, Row, Strip, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEVELS = {1: ("",), 2: ("low level", "high level"), 3: ("low level", "middle level", "high level")}
_NUMBERED = 12  # with more parts than this the cells have no numbers
SHARES = "Purples"


def has_boxes(evidence: Evidence) -> bool:
    """Whether there are boxes."""
    return bool(evidence.boxes)


def has_relations(evidence: Evidence) -> bool:
    """Whether there are relations among parts."""
    return bool(evidence.relations)


def rois(scene: Scene) -> Strip:
    """All boxes on the image, in one colour per set."""
    drawn = scene.pixels.copy()
    draw_boxes(drawn, scene)
    return Strip((Row((Panel(drawn),)),), keys=(*_keys(scene), *truth_keys(scene)), facts=box_facts(scene))


def box_facts(scene: Scene) -> dict[str, Any]:
    """The boxes in original pixels and their scores, by set, for the manifest."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in scene.evidence.boxes:
        pairs = zip(*scene.boxes_of(name), strict=True)
        found[name] = [{"box": [round(float(x), 2) for x in box], "score": round(float(s), 4)} for box, s in pairs]
    return {"boxes": found}


def _keys(scene: Scene) -> tuple[Key, ...]:
    colours, titles = set_colours(scene.evidence.boxes), set_titles(scene.evidence)
    return tuple(Key(colours[name], titles[name]) for name in colours)


def set_titles(evidence: Evidence) -> dict[str, str]:
    """A title for each set of boxes, which names the level of a pyramid and marks merged boxes."""
    levels = [name for name, boxes in evidence.boxes.items() if boxes.kind == "roi"]
    heights = _LEVELS.get(len(levels), ())
    titles = {name: name for name in evidence.boxes}
    titles |= {name: f"{height} ({name})" for name, height in zip(levels, heights, strict=False) if height}
    return titles | {name: f"merged ({name})" for name, boxes in evidence.boxes.items() if boxes.kind == "merged"}


def parts(scene: Scene) -> Strip:
    """The image with its boxes, and the crops of each set's boxes."""
    drawn = scene.pixels.copy()
    draw_boxes(drawn, scene)
    colours, titles = set_colours(scene.evidence.boxes), set_titles(scene.evidence)
    panels = [Panel(drawn, "boxes")]
    for name, colour in colours.items():
        boxes, scores = scene.boxes_of(name)
        if len(boxes):
            pixels = _tiles([scene.crop(box, _tile(scene, len(boxes))) for box in boxes], scene, colour)
            panels.append(Panel(pixels, titles[name], "  ".join(short(score) for score in scores), edge=_text(colour)))
    return Strip((Row(tuple(panels)),), keys=truth_keys(scene), facts=box_facts(scene))


def _text(colour: Colour) -> Colour:
    """The colour darkened to be readable on white."""
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    share = min(1.0, 105 / max(bright, 1))
    return (round(colour[0] * share), round(colour[1] * share), round(colour[2] * share))


def _grid(count: int) -> tuple[int, int]:
    """Rows and columns for `count` tiles, with at least as many rows as columns."""
    rows = math.ceil(math.sqrt(count))
    return rows, math.ceil(count / rows)


def _tile(scene: Scene, count: int) -> tuple[int, int]:
    rows, _ = _grid(count)
    side = (max(scene.size[0], round(scene.side / 2)) - (rows - 1) * _gap(scene)) // rows
    return side, round(1.5 * side)


def _gap(scene: Scene) -> int:
    return max(2, round(scene.side / 90))


def _tiles(crops: list[Pixels], scene: Scene, colour: Colour) -> Pixels:
    """The crops as a grid on white, each with a border in its set's colour."""
    rows, columns = _grid(len(crops))
    height, width = max(crop.shape[0] for crop in crops), max(crop.shape[1] for crop in crops)
    gap = _gap(scene)
    canvas = np.full((rows * height + (rows - 1) * gap, columns * width + (columns - 1) * gap, 3), 255, np.uint8)
    for number, crop in enumerate(crops):
        column, row = divmod(number, rows)
        top = row * (height + gap) + (height - crop.shape[0]) // 2
        left = column * (width + gap) + (width - crop.shape[1]) // 2
        canvas[top : top + crop.shape[0], left : left + crop.shape[1]] = bordered(crop, colour, scene.line)
    return canvas


def relations(scene: Scene) -> Strip:
    """The numbered parts and their relation weights: the mean over heads, then each head."""
    drawn = scene.pixels.copy()
    every = [(box, colour) for box, colour in _parts(scene)]
    for box, colour in every:
        outline(drawn, scene.place(box), colour, scene.line)
    draw_truth(drawn, scene)
    _badges(drawn, [(scene.place(box), colour) for box, colour in every], scene)
    thumbs = [scene.crop(box, (96, 96)) for box, _ in every]
    heads = {name: _taken(values[scene.position].detach().float().cpu().numpy()) for name, values in _heads(scene)}
    mean = np.mean(list(heads.values()), axis=0)
    side = max(scene.size[0], round(0.8 * scene.side))
    large = _matrix_plot(mean, thumbs, scene, side, "mean of the heads" if len(heads) > 1 else "weights", numbers=True)
    small = [_matrix_plot(head, [], scene, round(0.45 * scene.side), name) for name, head in heads.items()]
    rows = [Row((Panel(drawn, "parts"), large))]
    if len(heads) > 1:
        rows += [Row(tuple(small[start : start + 6])) for start in range(0, len(small), 6)]
    facts = {"relations": {name: np.round(head, 4).tolist() for name, head in heads.items()}}
    return Strip(tuple(rows), keys=truth_keys(scene), facts=box_facts(scene) | facts)


def _heads(scene: Scene) -> list[tuple[str, Any]]:
    return list(scene.evidence.relations.items())


def _parts(scene: Scene) -> list[tuple[Values, Colour]]:
    colours = set_colours(scene.evidence.boxes)
    return [(box, colours[name]) for name in colours for box in scene.boxes_of(name)[0]]


def _taken(weights: Values) -> Values:
    """The transpose of weights [m, n], the weight of part m for part n: a row is then the part that receives."""
    return weights.T


def _badges(pixels: Pixels, boxes: list[tuple[Values, Colour]], scene: Scene) -> None:
    """Write each box's number at its upper left corner, to the right of numbers that are there already."""
    height = round(max(scene.side / 28, 7))
    pad = max(2, round(0.2 * height))
    taken: set[tuple[int, int]] = set()
    for number, (box, colour) in enumerate(boxes, 1):
        text = str(number)
        wide, high = round(text_width(text, height)) + 2 * pad, height + 2 * pad
        x, y = max(round(float(box[0])), 0), max(round(float(box[1])), 0)
        while any(abs(x - left) < wide and abs(y - top) < high for left, top in taken):
            x += wide
        taken.add((x, y))
        pixels[y : y + high, x : x + wide] = colour
        light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 120
        write(pixels, [(text, x + wide / 2, y + high / 2)], height, WHITE if light else DARK)


def _matrix_plot(
    values: Values, thumbs: list[Pixels], scene: Scene, side: int, title: str, *, numbers: bool = False
) -> Plot:
    dpi = scene.options.dpi
    inset = (0.42, 0.36, 0.02, 0.0) if thumbs else (0.2, 0.2, 0.02, 0.0)
    extra = (round((inset[1] + inset[3]) * dpi), round((inset[0] + inset[2]) * dpi))
    drawn = _draw_matrix(values, thumbs, numbers=numbers)
    return Plot(drawn, (side + extra[0], side + extra[1]), title, inset=inset)


def _draw_matrix(values: Values, thumbs: list[Pixels], *, numbers: bool) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        count = len(values)
        top = max(float(values.max()), 1e-6)
        shift = 1 if thumbs else 0  # the first row and column show the parts
        for row, column in np.ndindex(count, count):
            colour = table(SHARES)[round(float(values[row, column]) / top * 235)] / 255
            place = (column + shift, column + shift + 1, row + shift + 1, row + shift)
            axes.fill_between(place[:2], place[3], place[2], color=colour, linewidth=0)
            if numbers and count <= _NUMBERED:
                dark = values[row, column] / top > 0.55
                text = f"{values[row, column]:.2f}".removeprefix("0")
                where = (column + shift + 0.5, row + shift + 0.5)
                axes.text(*where, text, ha="center", va="center", fontsize=7.5, color="white" if dark else "black")
        for number, thumb in enumerate(thumbs, 1):
            for x, y in ((0, number), (number, 0)):
                axes.imshow(thumb, extent=(x + 0.06, x + 0.94, y + 0.94, y + 0.06), aspect="auto")
        axes.set_xlim(0, count + shift)
        axes.set_ylim(count + shift, 0)
        ticks = [number + shift - 0.5 for number in range(1, count + 1)]
        axes.set_xticks(ticks, [str(n) for n in range(1, count + 1)], fontsize=7)
        axes.set_yticks(ticks, [str(n) for n in range(1, count + 1)], fontsize=7)
        axes.tick_params(length=0, pad=2)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if thumbs:
            axes.set_xlabel("from this part", fontsize=8, labelpad=1)
            axes.set_ylabel("to this part", fontsize=8, labelpad=1)

    return draw
