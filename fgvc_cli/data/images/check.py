"""Checks of the images before a run starts: finds bad images, and images that are in two splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from fgvc_cli.data.images.duplicates import duplicate_notes
from fgvc_cli.data.images.headers import ends_whole
from fgvc_cli.data.images.read import ImageError, must_fit, open_image, read_image
from fgvc_cli.data.images.survey import Progress, survey
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import open_regular
from fgvc_cli.spec.data import DataSpec

_NAMED = 3  # a message names at most this many bad images or classes
_TAIL = 64  # bytes read from the end of a file


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be used, and why."""

    split: str
    position: int
    error: ImageError


def examine(
    index: DatasetIndex, spec: DataSpec, *, recorded: bool = False, progress: Progress | None = None
) -> DatasetIndex:
    """The index that a run can use. `recorded`: its splits come from an existing run and must not change.

    The notes say which images are left out and which are in two splits.

    Raises:
        BadRequest: there are bad images and the spec does not leave them out, or leaving them out would leave a class
            without training images or a split without images.
    """
    bad = bad_images(index, spec, progress)
    if bad and (recorded or spec.on_bad_image == "error"):
        advice = (
            "the run was made with them: restore readable files"
            if recorded
            else "replace them, or leave them out with --on-bad-image skip"
        )
        raise BadRequest(refusal(bad, sum(map(len, index.splits().values())), advice))
    if spec.on_bad_image == "skip":
        index = _without(index, bad)
    return replace(
        index, notes=index.notes + duplicate_notes(index, spec.duplicates, progress, max_pixels=spec.max_pixels)
    )


def bad_images(index: DatasetIndex, spec: DataSpec, progress: Progress | None = None) -> list[BadImage]:
    """The images of the index's splits that cannot be read or have too many pixels.

    With `on_bad_image` error, the header and the end of each file are checked, and only suspicious files are decoded:
    this finds files that are empty, truncated, mislabelled or too large. With skip, every image is decoded, which
    finds all bad images.
    """
    places = [(name, position) for name, split in index.splits().items() for position in range(len(split))]
    files = [file for split in index.splits().values() for file in split.files]
    if spec.on_bad_image == "skip":
        kind, look = "decoding images", _decoded_size
    else:
        kind, look = "checking images", _size
    sizes = survey(kind, index.root, files, partial(look, max_pixels=spec.max_pixels), progress)
    verdicts = [_verdict(index.root / file, size, spec) for file, size in zip(files, sizes, strict=True)]
    return [BadImage(*place, error) for place, error in zip(places, verdicts, strict=True) if error is not None]


def _decoded_size(path: Path, max_pixels: int) -> str:
    """Width and height of the decoded image, in pixels. ImageError for a bad image."""
    height, width = read_image(path, max_pixels).shape[1:]
    return f"{width} {height}"


def _size(path: Path, max_pixels: int) -> str:
    """Width and height from the header if the end of the file looks complete, else those of the decoded image.

    ImageError for a bad image. An image with too many pixels is not decoded.
    """
    try:
        with open_regular(path) as stream, open_image(stream, max_pixels) as image:
            (width, height), format = image.size, image.format
            stream.seek(-min(_TAIL, path.stat().st_size), 2)
            if ends_whole(stream.read(), format):
                return f"{width} {height}"
    except Exception:  # decoding gives the better error message
        pass
    return _decoded_size(path, max_pixels)


def _verdict(path: Path, size: str | ImageError, spec: DataSpec) -> ImageError | None:
    """What is wrong with an image. The limit may have changed since the size was cached, so it is checked again."""
    if isinstance(size, ImageError):
        return size
    width, height = map(int, size.split())
    try:
        must_fit((width, height), spec.max_pixels)
    except ImageError as error:
        return ImageError(f"{path}: {error}")
    return None


def refusal(bad: Sequence[BadImage], images: int, advice: str) -> str:
    """An error about the bad ones among some images, with what to do."""
    named = "; ".join(str(image.error) for image in bad[:_NAMED])
    more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return f"{len(bad)} of {images} images cannot be used: {named}{more}: {advice}"


def _without(index: DatasetIndex, bad: Sequence[BadImage]) -> DatasetIndex:
    """The index without bad images. A run records these splits, so an image repaired later does not change them."""
    left: dict[str, Split] = {}
    notes: list[str] = []
    for name, split in index.splits().items():
        lost = [image for image in bad if image.split == name]
        left[name] = split.take(np.setdiff1d(np.arange(len(split)), [image.position for image in lost]))
        if lost:
            many = "bad image is" if len(lost) == 1 else "bad images are"
            notes.append(f"{len(lost)} {many} left out of {name} (first: {lost[0].error})")
        if not len(left[name]):
            raise BadRequest(f"{index.root}: no readable {name} image is left (first: {lost[0].error})")
    _no_class_lost(index, left["train"])
    return replace(
        index,
        train=left["train"],
        val=left.get("val"),
        test=left["test"],
        drawn=True,
        notes=(*index.notes, *notes),
    )


def _no_class_lost(index: DatasetIndex, train: Split) -> None:
    """BadRequest for classes that had training images and have none left."""
    lost = np.setdiff1d(index.train.labels, train.labels)
    if len(lost):
        named = ", ".join(repr(index.classes[label]) for label in lost[:_NAMED])
        raise BadRequest(
            f"{index.root}: no readable training image is left in {len(lost)} of {len(index.classes)} classes ({named}"
            f"{', ...' if len(lost) > _NAMED else ''}): add images to them or remove them"
        )
