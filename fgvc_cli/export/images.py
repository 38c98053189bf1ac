"""The real images that an exported file is compared with its run on, and those that set its 8-bit ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fgvc_cli.data.splits import limit
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.pictures import Picture, find_pictures, split_pictures

if TYPE_CHECKING:
    from fgvc_cli.inference.look import Model
    from fgvc_cli.terminal import Console

LEAST = 32  # images of a comparison


def images_to_check(
    model: Model, words: Sequence[str], count: int, console: Console, *, measured: bool = True
) -> list[Picture]:
    """At most `count` images of the run's validation split, spread over its classes, or of those that `words` name.

    Args:
        model: what is exported.
        words: files, folders or patterns; none: the run's own images.
        count: the most images.
        console: for notes on the data.
        measured: the accuracy on them decides. If not, training images, which the network may know by heart, stand
            in for validation images that are not there.

    Raises:
        BadRequest: there is no split to take them of, a word names no image, or there are fewer than LEAST.
    """
    if words:
        found, where = _named(model, words, count), "are named"
    elif measured:
        found, where = _of_split(model, "val", count, console, "--images"), "are in the validation split"
    else:
        found, where = _of_run(model, count, console), "are in the run's training split"
    if len(found) < LEAST:
        raise BadRequest(
            f"the exported file is compared with the run on at least {LEAST} images, and {len(found)} {where}: "
            "name more with --images"
        )
    return found


def images_to_calibrate(model: Model, words: Sequence[str], count: int, console: Console) -> list[Picture]:
    """The same of the run's training split; one image is enough. BadRequest if there is none."""
    return _named(model, words, count) if words else _of_split(model, "train", count, console, "--calibration")


def _of_run(model: Model, count: int, console: Console) -> list[Picture]:
    """Of the validation split; of the training split where that has fewer than LEAST."""
    from fgvc_cli.inference.dataset import NoSplitError

    try:
        found = _of_split(model, "val", count, console, "--images")
    except NoSplitError:
        found = []
    if len(found) >= LEAST:
        return found
    learnt = _of_split(model, "train", count, console, "--images")
    return [replace(picture, label=None) for picture in learnt]  # an accuracy on them would say nothing


def _of_split(model: Model, split: str, count: int, console: Console, flag: str) -> list[Picture]:
    from fgvc_cli.inference.dataset import NoSplitError

    what = "validation" if split == "val" else "training"
    if model.run is None:
        raise BadRequest(f"{model.file} is in no run folder, so it has no {what} images: name some with {flag}")
    request = replace(model.request, split=split)
    try:
        images = replace(model, request=request).open_images(console)
    except NoSplitError:
        raise NoSplitError(f"{model.run.path} has no {what} images: name some with {flag}") from None
    except BadRequest as error:
        raise BadRequest(f"the run's {what} images cannot be read ({error}): name others with {flag}") from None
    return split_pictures(images.index, limit(images.split, count), model.classes)


def _named(model: Model, words: Sequence[str], count: int) -> list[Picture]:
    """Images in a folder with the name of a class have that class."""
    label_of = {name: label for label, name in enumerate(model.classes)}
    found = find_pictures(words)
    step = max(1, -(-len(found) // count))  # spread over all of them
    return [replace(picture, label=label_of.get(picture.file.parent.name)) for picture in found[::step]]
