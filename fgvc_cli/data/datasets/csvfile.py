"""A user's own images, listed in a CSV file: path, label, and optionally split and box.

The first line names the columns: path (or file, filename), label (or class), split (train, val, test), and x1, y1, x2,
y2, the object's half-open box in the image's pixels. Others are ignored. Paths are relative to the file's folder.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.formats.fitting import with_true_boxes
from fgvc_cli.data.formats.index import present
from fgvc_cli.data.formats.own import SPLIT_OF, Own, natural_key, own_index
from fgvc_cli.data.groups import PATH_COLUMNS
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DataSpec

_ALIASES = {"path": PATH_COLUMNS, "label": ("label", "class"), "split": ("split",)}
_BOX = ("x1", "y1", "x2", "y2")
_FORM = "the first line names the columns: path,label[,split][,x1,y1,x2,y2]"
Row = tuple[int, Sequence[str]]  # number of its last line, its fields


@dataclass
class _Rows:
    """The columns of the table, one entry per image."""

    files: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    boxes: list[tuple[float, ...]] = field(default_factory=list)  # empty if the table has no box columns
    lines: list[int] = field(default_factory=list)


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of a CSV file. BadRequest, one line with file, line and column, if it cannot be trained on."""
    file = _file(spec)
    rows = _read(file)
    root = file.parent
    if any(map(os.path.isabs, rows.files)):  # then all become relative to the file system's root
        root = Path(file.absolute().anchor)
        rows.files = [(file.parent.absolute() / name).relative_to(root).as_posix() for name in rows.files]
    rows, notes = _on_disk(file, root, rows, spec.on_bad_image == "skip")
    classes = _classes(file, rows)
    splits = dict(_splits(rows, classes))
    own = Own("csv", root, file, classes, splits, "one list", "split", notes)
    return with_true_boxes(own_index(own, spec))


def _file(spec: DataSpec) -> Path:
    if spec.root is None:
        raise BadRequest(f"the dataset `csv` needs --data-dir FILE.csv; {_FORM}")
    file = spec.root.expanduser()
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise BadRequest(f"{file}: {what}; --data-dir names the CSV file itself")
    return file


# ---- parsing


def _table(file: Path) -> Iterator[Row]:
    """The rows that are not blank.

    The file is UTF-8, or UTF-16 if it begins with a byte order mark (spreadsheets call that Unicode). The delimiter is
    the one of comma, semicolon and tab that the first line has most often.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadRequest(f"{file}: cannot be read ({error.strerror})") from None
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    stream = io.TextIOWrapper(io.BytesIO(data), encoding, newline="")
    try:
        first = next(filter(str.strip, stream), "")
        stream.seek(0)
        rows = csv.reader(stream, delimiter=max(",;\t", key=first.count), strict=True)
        for row in rows:
            if row and (row[0].strip() or any(map(str.strip, row))):
                yield rows.line_num, row
    except csv.Error as error:
        raise BadRequest(f"{file}:{rows.line_num}: {error}; put texts with quotes or commas in quotes") from None
    except UnicodeDecodeError:
        raise BadRequest(
            f"{file}:{_first_undecodable_line(data, encoding)}: is not in UTF-8; save it as CSV UTF-8"
        ) from None


def _first_undecodable_line(data: bytes, encoding: str) -> int:
    """The number of the first line that cannot be decoded."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return data[: error.start].decode(encoding, "ignore").count("\n") + 1
    return 1


def _columns(file: Path, header: Row) -> dict[str, int]:
    """Name → position of each column. BadRequest for a column that is missing or appears twice."""
    line, names = header[0], [name.strip().lower() for name in header[1]]
    found: dict[str, int] = {}
    for what, aliases in {**_ALIASES, **{side: (side,) for side in _BOX}}.items():
        places = [i for i, name in enumerate(names) if name in aliases]
        if len(places) > 1:
            raise BadRequest(f"{file}:{line}: has {len(places)} columns for the {what}: {' and '.join(aliases)}")
        if places:
            found[what] = places[0]
    sides = [side for side in _BOX if side in found]
    missing = [what for what in ("path", "label", *(_BOX if sides else ())) if what not in found]
    if missing:
        there = ", ".join(map(repr, names[:8]))
        raise BadRequest(f"{file}:{line}: has no column {missing[0]!r} among {there}; {_FORM}")
    return found


def _read(file: Path) -> _Rows:
    table = _table(file)
    header = next(table, None)
    if header is None:
        raise BadRequest(f"{file}: is empty; {_FORM}")
    columns = _columns(file, header)
    rows = _Rows()
    for line, row in table:
        if len(row) != len(header[1]):
            raise BadRequest(f"{file}:{line}: has {len(row)} columns, but the first line has {len(header[1])}")
        _take(rows, file, line, row, columns)
    if not rows.files:
        raise BadRequest(f"{file}: lists no images; {_FORM}")
    _no_file_twice(file, rows)
    return rows


def _take(rows: _Rows, file: Path, line: int, row: Sequence[str], columns: Mapping[str, int]) -> None:
    """Add one image. BadRequest names the column that is wrong."""
    name, label = row[columns["path"]].strip(), row[columns["label"]].strip()
    if not (name and label):
        raise BadRequest(f"{file}:{line}: column {'label' if name else 'path'} is empty")
    rows.files.append(name.replace("\\", "/").removeprefix("./"))
    rows.labels.append(sys.intern(label))  # there may be a million images of a few labels
    rows.lines.append(line)
    word = row[columns["split"]].strip() if "split" in columns else "train"
    split = SPLIT_OF.get(word.lower())
    if split is None:
        raise BadRequest(f"{file}:{line}: column split is {word!r}; it must be train, val or test")
    rows.splits.append(split)
    if _BOX[0] in columns:
        rows.boxes.append(_box(file, line, [row[columns[side]].strip() for side in _BOX]))


def _box(file: Path, line: int, texts: Sequence[str]) -> tuple[float, ...]:
    """x1 y1 x2 y2. If all four are empty: a box without area, which no measure counts."""
    if not any(texts):
        return (0.0, 0.0, 0.0, 0.0)
    sides = []
    for name, text in zip(_BOX, texts, strict=True):
        try:
            sides.append(float(text))
        except ValueError:
            sides.append(np.nan)
        if not np.isfinite(sides[-1]):
            raise BadRequest(f"{file}:{line}: column {name} is {text!r}; a number is expected")
    x1, y1, x2, y2 = sides
    if x1 >= x2 or y1 >= y2:
        wrong = ("x2", x2, "x1", x1) if x1 >= x2 else ("y2", y2, "y1", y1)
        raise BadRequest(f"{file}:{line}: column {wrong[0]} ({wrong[1]:g}) must be above {wrong[2]} ({wrong[3]:g})")
    return x1, y1, x2, y2


def _no_file_twice(file: Path, rows: _Rows) -> None:
    if len(set(rows.files)) == len(rows.files):
        return
    first: dict[str, int] = {}
    for name, line in zip(rows.files, rows.lines, strict=True):
        if first.setdefault(name, line) != line:
            raise BadRequest(f"{file}:{line}: {name} is listed for the second time, first in line {first[name]}")


# ---- the index


def _on_disk(file: Path, root: Path, rows: _Rows, skip: bool) -> tuple[_Rows, tuple[str, ...]]:
    """The rows whose images exist, and a note about the others. BadRequest unless missing images may be skipped."""
    found = present(root, rows.files)
    missing = np.flatnonzero(~found)
    if not len(missing):
        return rows, ()
    first = rows.lines[missing[0]]
    what = f"{root / rows.files[missing[0]]} does not exist"
    many = f"{len(missing)} of {len(rows.files)} images are missing"
    none = len(missing) == len(rows.files)
    if none or not skip:
        hint = "paths are relative to the table" if none else "--on-bad-image skip leaves them out"
        raise BadRequest(f"{file}:{first}: {what}; {many}; {hint}")
    kept = np.flatnonzero(found)
    left = {name: [values[i] for i in kept] if values else [] for name, values in vars(rows).items()}
    return _Rows(**left), (f"{many} and left out (first: line {first}, {rows.files[missing[0]]})",)


def _classes(file: Path, rows: _Rows) -> tuple[str, ...]:
    """The labels of the training images, in natural order. BadRequest for fewer than two, or if another
    split has a label that training lacks.
    """
    trained = {label for label, split in zip(rows.labels, rows.splits, strict=True) if split == "train"}
    if not trained:
        raise BadRequest(f"{file}: no image is in the training split")
    for label, split, line in zip(rows.labels, rows.splits, rows.lines, strict=True):
        if label not in trained:
            raise BadRequest(f"{file}:{line}: label {label!r} is in the {split} split but has no training images")
    if len(trained) < 2:
        raise BadRequest(f"{file}: all labels are {rows.labels[0]!r}; a classifier needs at least two classes")
    return tuple(sorted(trained, key=natural_key))


def _splits(rows: _Rows, classes: Sequence[str]) -> Iterator[tuple[str, Split]]:
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of[label] for label in rows.labels], dtype=np.int64)
    boxes: NDArray[np.float32] | None = np.array(rows.boxes, dtype=np.float32) if rows.boxes else None
    whole = Split(tuple(rows.files), labels, boxes)
    names = np.array(rows.splits)
    for name in ("train", "val", "test"):
        if (names == name).any():
            yield name, whole.take(np.flatnonzero(names == name))
