"""The built-in demo of finches: drawn once by `fgvc_cli.data.demo`, stored on disk, and read here."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fgvc_cli.data.catalog import DATA_DIR_VARIABLE, cache_home
from fgvc_cli.data.formats.index import checked
from fgvc_cli.data.images.survey import Progress
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import expanded, hindrance, read_text
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.values import parse

ANNOTATIONS = "annotations.json"


def load(spec: DataSpec, progress: Progress | None = None) -> DatasetIndex:
    """The index of the demo, with boxes and parts of every image. The images are drawn first if they do not exist."""
    from fgvc_cli.data.demo.folder import generate

    home = demo_home(spec)
    try:
        return read(generate(home, progress=progress and partial(_drawing, progress)))
    except OSError as error:
        raise FgvcError(
            f"{home}: the demo cannot be drawn there ({error.strerror}); choose another folder with --data-dir"
        ) from None


def _drawing(progress: Progress, done: int, total: int) -> None:
    """Report the progress of drawing; the first call comes after one image, so step 0 is added."""
    for step in (0, 1) if done == 1 else (done,):
        progress("drawing the images of the demo", step, total)


def demo_home(spec: DataSpec) -> Path:
    """The folder that the demo is stored in: the spec's root, $FGVC_DATA_DIR, or the user's cache."""
    if spec.root is not None:
        return expanded(spec.root)
    variable = os.environ.get(DATA_DIR_VARIABLE)
    if variable:
        return expanded(variable)
    return cache_home()


def read(root: Path) -> DatasetIndex:
    """The index of a folder with the drawn demo."""
    path = root / ANNOTATIONS
    try:
        facts = parse(read_text(path))
        part_names = tuple(facts["parts"])
        splits = {name: _split(facts["images"][name], part_names) for name in ("train", "test")}
        classes = tuple(facts["classes"])
        part_options = tuple(tuple(traits[name] for name in part_names) for traits in facts["traits"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        if hindrance(error):
            raise BadRequest(f"{path}: cannot be read ({hindrance(error)})") from None
        raise BadRequest(
            f"{path}: is not the file that fgvc wrote; delete {root}, and fgvc draws the demo again"
        ) from None
    return checked(
        DatasetIndex(
            name="demo",
            root=root,
            classes=classes,
            train=splits["train"],
            test=splits["test"],
            part_names=part_names,
            part_options=part_options,
        ),
        ANNOTATIONS,
    )


def _split(images: list[dict[str, Any]], part_names: tuple[str, ...]) -> Split:
    parts = [[image["parts"][name] for name in part_names] for image in images]
    return Split(
        files=tuple(image["file"] for image in images),
        labels=np.array([image["label"] for image in images], dtype=np.int64),
        boxes=np.array([image["box"] for image in images], dtype=np.float32).reshape(-1, 4),
        parts=np.array(parts, dtype=np.float32).reshape(-1, len(part_names), 3),
    )
