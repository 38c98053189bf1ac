"""The pictures of why in a model card: of images that may be published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fgvc_cli.data.facts import CATALOG
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.look import Model
from fgvc_cli.inference.pictures import Picture, find_pictures, split_pictures
from fgvc_cli.terminal import Console
from fgvc_cli.viz.draw import explain, kinds_for
from fgvc_cli.viz.scene import Options
from fgvc_cli.viz.sheet import Sheet

MOST = 4
_DPI = 110


def named_pictures(files: Sequence[Path]) -> list[Picture]:
    """The images that a user names for the card. BadRequest for more than `MOST`, or one that is not there."""
    found = find_pictures([str(file) for file in files])
    if len(found) > MOST:
        raise BadRequest(f"--picture: {len(found)} images; name up to {MOST}")
    return found


def free_pictures(model: Model, console: Console) -> list[Picture]:
    """Test images of the model's own data, spread over them, if those data may be published by anyone."""
    if not CATALOG[model.spec.data.dataset].free:
        return []
    images = model.open_images(console)
    pictures = split_pictures(images.index, images.split, images.index.classes)
    return pictures[:: max(1, len(pictures) // MOST)][:MOST]


def draw_why(model: Model, pictures: Sequence[Picture], file: Path, console: Console) -> int:
    """Write one sheet with the explanation of each image. Returns their number; 0, and a note, if there is none."""
    if not kinds_for(model):
        console.note(f"the card has no picture of why: method {model.spec.method.name} has no evidence to draw")
        return 0
    strips = [explain(model, picture, options=Options(dpi=_DPI))[1].strips[0] for picture in pictures]
    Sheet(strips, _DPI).write(file)
    return len(strips)
