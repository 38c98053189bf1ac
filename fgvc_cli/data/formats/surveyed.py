"""True boxes from one file per image (a mask, an XML file). They are read once and cached: there are thousands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fgvc_cli.data.images.read import ImageError, open_image
from fgvc_cli.data.images.survey import Progress, survey
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.files import open_regular

Box = tuple[float, float, float, float]  # xyxy half-open
NO_BOX: Box = (0, 0, 0, 0)  # a box without area, which no measure counts
Mask = Callable[[Image.Image], NDArray[np.bool_]]


def with_surveyed_boxes(
    index: DatasetIndex,
    what: str,
    file_of: Callable[[str], str],
    box_in: Callable[[Path], Box],
    progress: Progress | None,
) -> DatasetIndex:
    """The index with a box for each image. Images whose file is missing or unreadable have none, and a note says so.

    Args:
        index: without boxes.
        what: what is read, for the progress bar; also the cache key of the results.
        file_of: image → the file that holds its box, both relative to the root.
        box_in: reads such a file. May raise OSError or ValueError.
        progress: called while reading takes long.
    """
    splits = index.splits()
    files = [file_of(file) for split in splits.values() for file in split.files]
    found = survey(what, index.root, files, partial(_text, box_in=box_in), progress)
    boxes = np.array([NO_BOX if isinstance(box, ImageError) else box.split() for box in found], dtype=np.float32)
    lost = [box for box in found if isinstance(box, ImageError)]
    notes = (f"{len(lost)} of {len(files)} images have no true box (first: {lost[0]})",) if lost else ()
    ends = np.cumsum([len(split) for split in splits.values()])[:-1]
    parts = zip(splits.items(), np.split(boxes.reshape(-1, 4), ends), strict=True)
    boxed = {name: replace(split, boxes=part) for (name, split), part in parts}
    return replace(index, train=boxed["train"], val=boxed.get("val"), test=boxed["test"], notes=(*index.notes, *notes))


def _text(path: Path, box_in: Callable[[Path], Box]) -> str:
    """The box as text, the form that is cached."""
    try:
        x1, y1, x2, y2 = box = box_in(path)
        if not (x1 <= x2 and y1 <= y2):  # false for NaN too
            raise ValueError(f"its box is {box}")
        return " ".join(map(str, box))
    except FileNotFoundError:
        raise ImageError(f"{path} is missing") from None
    except Exception as error:  # Pillow's decoders raise exceptions of many kinds
        raise ImageError(f"{path} cannot be read ({error})") from None


def box_of_mask(path: Path, is_object: Mask) -> Box:
    """The box around all pixels of the object; NO_BOX if there are none."""
    with open_regular(path) as stream, open_image(stream) as image:
        mask = is_object(image)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return NO_BOX
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
