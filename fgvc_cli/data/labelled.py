"""A user's labelled images as they are listed, before anything is asked of them as of training images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Labelled:
    """N images and the classes that they are said to be of."""

    root: Path  # the images' paths are relative to it
    source: Path  # the folder or file that messages name
    files: tuple[str, ...]
    classes: tuple[str, ...]  # (N,) names as written
    splits: tuple[str, ...]  # (N,) train, val or test; "" where the images are in no split
    boxes: NDArray[np.float32] | None = None  # (N, 4) xyxy half-open, pixels of the original image
    notes: tuple[str, ...] = ()
