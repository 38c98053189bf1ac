"""A picture with its main heat map and the method's boxes on it: one small card for galleries and pages."""

from __future__ import annotations

from fgvc_cli.inference.look import Model, Seen
from fgvc_cli.viz.kinds.boxes import draw_boxes
from fgvc_cli.viz.kinds.saliency import Saliency
from fgvc_cli.viz.pixels import Pixels, heated, spread
from fgvc_cli.viz.scene import Looked, Scene


def overview(model: Model, seen: Seen, position: int, *, width: int = 360, heat: Saliency | None = None) -> Pixels:
    """The card of one picture of a batch.

    Args:
        model: what looked.
        seen: with evidence and originals; also with gradients for a method without a linear head.
        position: of the picture in the batch.
        width: of a square card, in pixels; others are about as large.
        heat: the batch's `saliency(seen)`, for whoever draws several of its pictures; none: computed here.

    Returns:
        (H, W, 3) uint8 RGB, without a caption.
    """
    looked = Looked(model, seen)
    scene = Scene(looked, position, width)
    found = looked.speaks_for if heat is None else heat
    values, inside = spread(found.values[position].cpu().numpy(), scene.frame(found.frame), scene.size)
    pixels = heated(scene.pixels, values, inside, looked.options.alpha)
    draw_boxes(pixels, scene)
    return pixels
