"""A method's boxes and the true box drawn on an image, in one colour per set."""

from __future__ import annotations

from collections.abc import Mapping

from fgvc_cli.methods.base import Boxes
from fgvc_cli.viz.colours import LEVELS, SETS, TRUTH, YELLOW, Colour
from fgvc_cli.viz.pixels import Pixels, outline
from fgvc_cli.viz.scene import Scene
from fgvc_cli.viz.sheet import Key

TRUTH_KEY = Key(TRUTH, "true box", dashed=True)


def set_colours(sets: Mapping[str, Boxes]) -> dict[str, Colour]:
    """A colour for each set of boxes.

    The levels of a ROI pyramid (kind `roi`) are coloured in their order as in AP-CNN's Fig. 5: the first (low) green,
    the last (high) red, those between blue. The merged box is yellow.
    """
    levels = [name for name, boxes in sets.items() if boxes.kind == "roi"]
    others = [name for name, boxes in sets.items() if boxes.kind not in ("roi", "merged")]
    colours = dict(zip(others, SETS * (1 + len(others) // len(SETS)), strict=False))
    colours |= {name: _level_colour(number, len(levels)) for number, name in enumerate(levels)}
    return {name: colours.get(name, YELLOW) for name in sets}


def _level_colour(number: int, levels: int) -> Colour:
    low, middle, high = LEVELS
    return high if number == levels - 1 else low if number == 0 else middle


def draw_boxes(pixels: Pixels, scene: Scene) -> None:
    """Draw the boxes of all sets, the largest first, then the true box, dashed."""
    colours = set_colours(scene.evidence.boxes)
    found = [(box, colours[name]) for name in colours for box in scene.boxes_of(name)[0]]
    for box, colour in sorted(found, key=lambda one: -(one[0][2] - one[0][0]) * (one[0][3] - one[0][1])):
        outline(pixels, scene.place(box), colour, scene.line)
    draw_truth(pixels, scene)


def draw_truth(pixels: Pixels, scene: Scene) -> None:
    """Draw the true box, white and dashed, if it is known and requested."""
    truth = scene.truth()
    if truth is not None:
        outline(pixels, truth, TRUTH, scene.line, dashed=True)


def truth_keys(scene: Scene) -> tuple[Key, ...]:
    """The legend entry of the true box, if it is drawn."""
    return () if scene.truth() is None else (TRUTH_KEY,)
