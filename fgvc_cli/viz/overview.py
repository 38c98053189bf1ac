"""An image with its main heat map and the method's boxes: a small card for galleries and report pages."""

from __future__ import annotations

from fgvc_cli.inference.look import Model, Seen
from fgvc_cli.viz.kinds.boxes import draw_boxes
from fgvc_cli.viz.kinds.saliency import Saliency
from fgvc_cli.viz.pixels import Pixels, heated, spread
from fgvc_cli.viz.scene import Looked, Scene


def overview(model: Model, seen: Seen, position: int, *, width: int = 360, heat: Saliency | None = None) -> Pixels:
    """The card of one image of a batch.

    Args:
        model: the model that made `seen`.
        seen: the batch with evidence and originals, and with gradients for a method without a linear head.
        position: the image's position in the batch.
        width: width of a square card, in pixels; other shapes have about the same area.
        heat: `saliency(seen)`, to compute it once when several images of the batch are drawn. None: computed here.

    Returns:
        (H, W, 3) uint8 RGB without a caption.
    """
    looked = Looked(model, seen)
    scene = Scene(looked, position, width)
    found = looked.class_saliency if heat is None else heat
    values, inside = spread(found.values[position].cpu().numpy(), scene.frame(found.frame), scene.size)
    pixels = heated(scene.pixels, values, inside, looked.options.alpha)
    draw_boxes(pixels, scene)
    return pixels
