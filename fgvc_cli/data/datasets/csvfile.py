"""A user's own images, listed in a CSV file: path, label, and optionally split and box.

The first line names the columns: path (or file, filename), label (or class), split (train, val, test), and x1, y1, x2,
y2, the object's half-open box in the image's pixels. Others are ignored. Paths are relative to the file's folder.
An image labelled `-` is of no class and is left out, as in a file of corrected labels.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.csv_text import original
from fgvc_cli.data.formats.class_names import ClassNames, class_names
from fgvc_cli.data.formats.fitting import with_true_boxes
from fgvc_cli.data.formats.on_disk import near_on_disk, on_disk, spelling_notes
from fgvc_cli.data.formats.own import Own, own_index
from fgvc_cli.data.formats.split_names import settled, spelling
from fgvc_cli.data.groups import PATH_COLUMNS
from fgvc_cli.data.label_fixes import LEAVE_OUT
from fgvc_cli.data.labelled import Labelled
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded, open_regular
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.values import brief, coordinate

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
    of_none: int = 0  # images labelled as of no class, which are not listed


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of a CSV file. BadRequest, one line with file, line and column, if it cannot be trained on."""
    file, root, rows, notes = _listed(spec)
    named = _classes(file, rows)
    splits = dict(_splits(rows, named))
    own = Own("csv", root, file, named.classes, splits, "one list", "split", (*notes, *named.notes))
    return with_true_boxes(own_index(own, spec))


def labelled(spec: DataSpec, known: object = None) -> Labelled:
    """All images of a CSV file, with their labels. BadRequest as `load`, but any labels will do."""
    file, root, rows, notes = _listed(spec)
    boxes = np.array(rows.boxes, dtype=np.float32) if rows.boxes else None
    return Labelled(root, file, tuple(rows.files), tuple(rows.labels), tuple(rows.splits), boxes, notes)


def _listed(spec: DataSpec) -> tuple[Path, Path, _Rows, tuple[str, ...]]:
    """The file, the folder that its paths are relative to, the images that exist, and notes."""
    file = _file(spec)
    rows = _read(file)
    root = file.parent
    if any(map(os.path.isabs, rows.files)):  # then all become relative to the file system's root
        root = Path(file.absolute().anchor)
        rows.files = [(file.parent.absolute() / name).relative_to(root).as_posix() for name in rows.files]
    of_none = (f"{rows.of_none} images are of no class ({LEAVE_OUT}) and left out",) if rows.of_none else ()
    rows, notes = _on_disk(file, root, rows, spec.on_bad_image == "skip")
    return file, root, rows, of_none + notes


def _file(spec: DataSpec) -> Path:
    if spec.root is None:
        raise BadRequest(f"the dataset `csv` needs --data-dir FILE.csv; {_FORM}")
    file = expanded(spec.root)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "is not a regular file" if file.exists() else "does not exist"
        raise BadRequest(f"{file}: {what}; --data-dir names the CSV file itself")
    return file


# ---- parsing


def _table(file: Path) -> Iterator[Row]:
    """The rows that are not blank.

    The file is UTF-8, or UTF-16 if it begins with a byte order mark (spreadsheets call that Unicode). The delimiter is
    the one of comma, semicolon and tab that the first line has most often.
    """
    try:
        with open_regular(file) as opened:
            data = opened.read()
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
    split_of = settled({kind: kind for kind in dict.fromkeys(rows.splits)})
    rows.splits = [split_of[kind] for kind in rows.splits]
    return rows


def _take(rows: _Rows, file: Path, line: int, row: Sequence[str], columns: Mapping[str, int]) -> None:
    """Add one image. BadRequest names the column that is wrong."""
    name, label = (original(row[columns[what]].strip()) for what in ("path", "label"))
    if not (name and label):
        raise BadRequest(f"{file}:{line}: column {'label' if name else 'path'} is empty")
    if label == LEAVE_OUT:
        rows.of_none += 1
        return
    rows.files.append(name.replace("\\", "/").removeprefix("./"))
    rows.labels.append(sys.intern(label))  # there may be a million images of a few labels
    rows.lines.append(line)
    word = row[columns["split"]].strip() if "split" in columns else "train"
    said = spelling(word)
    if said is None or said.rest:
        raise BadRequest(f"{file}:{line}: column split is {word!r}; it must be train, val or test")
    rows.splits.append(said.kind)
    if _BOX[0] in columns:
        rows.boxes.append(_box(file, line, [row[columns[side]].strip() for side in _BOX]))


def _box(file: Path, line: int, texts: Sequence[str]) -> tuple[float, ...]:
    """x1 y1 x2 y2. If all four are empty: a box without area, which no measure counts."""
    if not any(texts):
        return (0.0, 0.0, 0.0, 0.0)
    sides = []
    for name, text in zip(_BOX, texts, strict=True):
        try:
            sides.append(coordinate(text))
        except ValueError:
            raise BadRequest(f"{file}:{line}: column {name} is {brief(text)}; a number of pixels is expected") from None
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
    found = on_disk(root, rows.files)
    notes = spelling_notes(rows.files, found)
    missing = [i for i, name in enumerate(found) if name is None]
    listed = rows.files[missing[0]] if missing else ""
    many = f"{len(missing)} of {len(found)} images are missing"
    if missing and not (skip and len(missing) < len(found)):
        hint = "--on-bad-image skip leaves them out"
        hint = hint if len(missing) < len(found) else "paths are relative to the table"
        near = near_on_disk(root, listed)
        raise BadRequest(f"{file}:{rows.lines[missing[0]]}: {root / listed} does not exist{near}; {many}; {hint}")
    if missing:
        notes += (f"{many} and left out (first: line {rows.lines[missing[0]]}, {listed})",)
    if not notes:
        return rows, ()
    rows.files = [there or name for name, there in zip(rows.files, found, strict=True)]
    kept = [i for i, name in enumerate(found) if name is not None] if missing else range(len(found))
    lists: dict[str, Any] = {name: values for name, values in vars(rows).items() if isinstance(values, list)}
    left: dict[str, Any] = {name: [values[i] for i in kept] if values else [] for name, values in lists.items()}
    rows = _Rows(**left)
    _no_file_twice(file, rows)
    return rows, notes


def _classes(file: Path, rows: _Rows) -> ClassNames:
    """The labels of the training images, in natural order. BadRequest for fewer than two, or if another
    split has a label that training lacks.
    """
    trained = dict.fromkeys(label for label, split in zip(rows.labels, rows.splits, strict=True) if split == "train")
    if not trained:
        raise BadRequest(f"{file}: no image is in the training split")
    named = class_names(trained, rows.labels)
    for label, split, line in zip(rows.labels, rows.splits, rows.lines, strict=True):
        if label not in named.label_of:
            raise BadRequest(
                f"{file}:{line}: label {label!r} is in the {split} split but has no training images{named.hint(label)}"
            )
    if len(named.classes) < 2:
        raise BadRequest(f"{file}: all labels are {rows.labels[0]!r}; a classifier needs at least two classes")
    return named


def _splits(rows: _Rows, named: ClassNames) -> Iterator[tuple[str, Split]]:
    labels = np.array([named.label_of[label] for label in rows.labels], dtype=np.int64)
    boxes: NDArray[np.float32] | None = np.array(rows.boxes, dtype=np.float32) if rows.boxes else None
    whole = Split(tuple(rows.files), labels, boxes)
    names = np.array(rows.splits)
    for name in ("train", "val", "test"):
        if (names == name).any():
            yield name, whole.take(np.flatnonzero(names == name))
