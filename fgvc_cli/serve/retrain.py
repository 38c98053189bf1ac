"""The command line that trains on corrections: a table of the run's own images and the corrected ones."""

from __future__ import annotations

import filecmp
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fgvc_cli.csv_text import csv_text
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import write_text
from fgvc_cli.inference.look import Model
from fgvc_cli.serve.corrections import Correction, Corrections
from fgvc_cli.terminal import Console

TABLE = "training.csv"
_HEADER = ("path", "label", "split")
_BOX = ("x1", "y1", "x2", "y2")
# Settings of the run's data that its table has already followed, or that another dataset does not have.
_SETTLED = ("train_dir", "val_dir", "test_dir", "level", "group_by", "leave_out", "label_fixes")
_LIMITS = ("limit_train", "limit_test")


@dataclass(frozen=True)
class Retraining:
    """How to train on the corrections."""

    command: str
    corrections: int
    own: int  # of them images of the run's own data, whose labels are mended in the table
    left_out: int  # images of none of the classes
    images: int  # in the table; 0: there is no table, and the command trains on the corrections alone
    note: str = ""


def prepare(model: Model, corrections: Corrections) -> Retraining:
    """Write the table of the run's images and the corrections, and tell the command that trains on it.

    An image of the run's own data keeps its split and gets its corrected label, or is left out. Other images join the
    training split. Where the run's data cannot be read, the command trains on the corrections alone, and a note says
    why.

    Raises:
        BadRequest: there are no corrections.
        FgvcError: the corrections cannot be read, or the table cannot be written.
    """
    found = corrections.read()
    if not found:
        raise BadRequest("there are no corrections yet: pick the right class of an answer first")
    left_out = sum(one.class_name is None for one in found.values())
    try:
        index = _index(model)
    except FgvcError as error:
        alone = ["fgvc", "train", "--dataset", "csv", "--data-dir", str(corrections.file.absolute())]
        note = f"on the corrections alone, which needs several images of each class: {error}"
        return Retraining(shlex.join(alone), len(found), 0, left_out, 0, note)
    own = _own(index, found, corrections.folder)
    table = corrections.folder / TABLE
    rows = [*_rows(index, own), *_new_rows(index, found, own, corrections.folder)]
    write_text(table, csv_text(_header(index), rows))
    return Retraining(_command(model, table), len(found), len(own), left_out, len(rows))


def _index(model: Model) -> DatasetIndex:
    if model.run is None:
        raise BadRequest(f"{model.file.name} is in no run folder, so its data are not known")
    index = model.open_images(Console(quiet=True)).index
    if index.cut_bottom:
        raise BadRequest(f"the images of {index.name} have a caption at the bottom, which a table cannot leave out")
    return index


def _own(index: DatasetIndex, found: Mapping[str, Correction], folder: Path) -> dict[str, Correction]:
    """The corrections of images of the run's own data, by these images' paths: those with the same bytes."""
    sizes: dict[int, list[tuple[Path, Correction]]] = {}
    for one in found.values():
        file = folder / one.path
        if file.is_file():
            sizes.setdefault(file.stat().st_size, []).append((file, one))
    own: dict[str, Correction] = {}
    for name in (name for split in index.splits().values() for name in split.files):
        there = index.root / name
        alike = sizes.get(there.stat().st_size, ()) if there.is_file() else ()
        same = next((one for file, one in alike if filecmp.cmp(file, there, shallow=False)), None)
        own |= {} if same is None else {name: same}
    return own


def _header(index: DatasetIndex) -> tuple[str, ...]:
    return _HEADER + (_BOX if _boxed(index) else ())


def _boxed(index: DatasetIndex) -> bool:
    return any(split.boxes is not None for split in index.splits().values())


def _rows(index: DatasetIndex, own: Mapping[str, Correction]) -> Iterator[list[Any]]:
    """The run's own images, with their corrected labels."""
    for name, split in index.splits().items():
        for place, file in enumerate(split.files):
            label: str | None = index.classes[split.labels[place]]
            if file in own:
                label = own[file].class_name
            if label is not None:
                path = (index.root / file).absolute()
                yield [str(path), label, name, *_box(index, split, place)]


def _box(index: DatasetIndex, split: Split, place: int) -> Sequence[object]:
    """The four cells of a box, empty where it has no area; none at all if no image has one."""
    if not _boxed(index):
        return ()
    box = np.zeros(4) if split.boxes is None else split.boxes[place]
    x1, y1, x2, y2 = box.tolist()
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else ("",) * 4


def _new_rows(
    index: DatasetIndex, found: Mapping[str, Correction], own: Mapping[str, Correction], folder: Path
) -> Iterator[list[Any]]:
    """The other corrected images, in the training split."""
    known = {one.id for one in own.values()}
    for one in found.values():
        if one.class_name is not None and one.id not in known:
            path = (folder / one.path).absolute()
            yield [str(path), one.class_name, "train", *([""] * 4 if _boxed(index) else ())]


def _command(model: Model, table: Path) -> str:
    assert model.run is not None
    words = ["fgvc", "train", "--config", str(model.run.path.absolute()), "--dataset", "csv"]
    words += ["--data-dir", str(table.absolute())]
    for name in (*_SETTLED, *_LIMITS):
        if getattr(model.trained.spec.data, name) is not None:
            words += ["--set", f"data.{name}=null"]
    return shlex.join(words)
