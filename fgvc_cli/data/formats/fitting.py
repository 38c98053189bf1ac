"""Check that boxes fit their images. Some copies of datasets have shrunk images, or images cropped to their boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.images.read import open_image
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.files import open_regular

_SAMPLE = 60  # images of a split whose headers are read
_SLACK = 2  # pixels that a box may extend outside its image, as some official boxes do
_CROPPED_SHARE = 0.9  # smallest share of sampled images with their box's aspect ratio if images were cropped


def with_true_boxes(index: DatasetIndex) -> DatasetIndex:
    """The index with boxes that fit the images, and a note if they are not the boxes of the files.

    Boxes that do not fit, made for larger images, are left out together with part points. But if the images have the
    aspect ratios of their boxes, they were cropped to them: then the object fills the image, and the true box is the
    whole image.
    """
    splits = (index.train, index.test)
    stray = next((found for found in (_stray_box(index, split) for split in splits) if found), None)
    if stray is None:
        return index
    cropped = all(_cropped_to_boxes(index, split) for split in splits)
    train, test = (replace(split, boxes=_whole(index, split) if cropped else None, parts=None) for split in splits)
    note = (
        f"the images were cropped to their boxes ({stray}): the true box is the whole image"
        if cropped
        else f"boxes are not used: they do not fit the images, which were cropped or scaled after labelling ({stray})"
    )
    return replace(index, train=train, test=test, part_names=(), notes=(*index.notes, note))


def _stray_box(index: DatasetIndex, split: Split) -> str | None:
    """A message about one box if more than a tenth of the sampled boxes extend outside their images; else None."""
    if split.boxes is None:
        return None
    chosen = _sample(split)
    sizes, boxes = _sizes(index, split, chosen), split.boxes[chosen]
    outside = (boxes[:, :2].min(1) < -_SLACK) | (boxes[:, 2:] > sizes + _SLACK).any(1)
    stray = np.flatnonzero(outside & (sizes[:, 0] > 0))
    if len(stray) <= len(chosen) / 10:
        return None
    (width, height), (x2, y2) = sizes[stray[0]], boxes[stray[0], 2:]
    return f"{split.files[chosen[stray[0]]]} is {width} x {height}, its box ends at {x2:.0f}, {y2:.0f}"


def _cropped_to_boxes(index: DatasetIndex, split: Split) -> bool:
    """Whether the sampled images have the aspect ratios of their boxes, up to rounding to whole pixels."""
    if split.boxes is None:
        return False
    chosen = _sample(split)
    sizes, boxes = _sizes(index, split, chosen).astype(np.float64), split.boxes[chosen].astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    readable = (sizes > 0).all(1) & (sides > 0).all(1)
    sizes, sides = sizes[readable], sides[readable]
    log_ratio = np.log((sizes[:, 0] * sides[:, 1]) / (sizes[:, 1] * sides[:, 0]))
    rounding = 1 / sizes.min(1) + 2 / sides.min(1)
    # A single image may have its box's aspect ratio by chance.
    return len(log_ratio) > 1 and bool((np.abs(log_ratio) < rounding).mean() >= _CROPPED_SHARE)


def _whole(index: DatasetIndex, split: Split) -> NDArray[np.float32]:
    """(N, 4) boxes that cover the images. An unreadable image has a box without area, which no measure counts."""
    sizes = _sizes(index, split, np.arange(len(split)))
    return np.concatenate([np.zeros_like(sizes), sizes], axis=1).astype(np.float32)


def _sample(split: Split) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, len(split) - 1, min(len(split), _SAMPLE)).astype(np.int64))


def _sizes(index: DatasetIndex, split: Split, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, 2) width and height from the images' headers; 0 if a header is unreadable: loading the image reports it."""
    sizes = np.zeros((len(chosen), 2), dtype=np.int64)
    for row, i in zip(sizes, chosen, strict=True):
        try:
            with open_regular(index.root / split.files[i]) as stream, open_image(stream) as image:
                row[:] = image.size
        except Exception:  # Pillow's plugins raise exceptions of many kinds
            continue
    return sizes
