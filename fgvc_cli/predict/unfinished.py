"""The predictions of an output that is not finished yet: kept row by row, so that no stop costs more than a batch.

    FILE.unfinished/about.json      what was asked of which model for which images
    FILE.unfinished/NAME.rows       records: place of the image, length of its text, what it is, a checksum, the text

Each process appends to a file of its own. A killed one leaves at most an incomplete last record, which its checksum
shows. The output is written, in the order of the images, when every image has its row; then the folder is removed.
"""

from __future__ import annotations

import os
import shutil
import struct
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import TEMPORARY, explained, open_regular, read_text, write_json
from fgvc_cli.predict.answers import UNSURE, Answer, Failed
from fgvc_cli.values import parse

_ABOUT = "about.json"
_LOCK = ".lock"
_ENDING = ".rows"
_HEAD = struct.Struct("<QIBI")  # place, bytes of text, marks, CRC-32 of all before and the text
_FAILED, _UNSURE, _UNKNOWN = 1, 2, 4  # marks


@dataclass
class Counts:
    """Numbers of images by outcome."""

    predicted: int = 0
    unsure: int = 0  # of the predicted
    unknown: int = 0  # of the predicted
    failed: int = 0

    def add(self, marks: int, images: int = 1) -> None:
        """Count images of these marks."""
        failed = images if marks & _FAILED else 0
        self.failed += failed
        self.predicted += images - failed
        self.unsure += images if marks & _UNSURE else 0
        self.unknown += images if marks & _UNKNOWN else 0

    @property
    def images(self) -> int:
        """All of them."""
        return self.predicted + self.failed

    def __str__(self) -> str:
        unknown = f", {self.unknown} unknown" if self.unknown else ""
        return f"{self.predicted} predicted, {self.unsure} of them unsure{unknown}, {self.failed} failed"


def marks_of(row: Answer | Failed) -> int:
    """What an image is counted as."""
    if isinstance(row, Failed):
        return _FAILED
    unknown = row.known is not None and not row.known.known
    return (_UNSURE if row.text == UNSURE and not row.plain else 0) | (_UNKNOWN if unknown else 0)


class _Record(NamedTuple):
    place: int
    marks: int
    text: bytes


class Unfinished:
    """The rows of N images, kept beside the output.

    Args:
        output: the file that they are for.
        total: N.
    """

    def __init__(self, output: Path, total: int) -> None:
        self.folder = output.with_name(f"{output.name}.unfinished")
        self.total = total
        self._own: IO[bytes] | None = None
        self._lock: FileLock | None = None
        self._logs: list[Path] = []
        self._log = np.empty(0, np.int32)  # the file that holds an image's record, -1: none does
        self._start = np.empty(0, np.int64)  # where it is there
        self._marks = np.empty(0, np.uint8)

    def begin(self, about: Mapping[str, Any]) -> None:
        """Make the folder, or go on with one that is there, and lock it.

        BadRequest if it was begun for something else, or another process has it.
        """
        file = self.folder / _ABOUT
        self._claim()
        if not file.exists() and not any(self.folder.glob(f"*{_ENDING}")):
            write_json(file, about)
            return
        try:
            found = parse(read_text(file))
            differs = next((what for what in about if found.get(what) != about[what]), None)
        except (OSError, ValueError, AttributeError):
            raise BadRequest(f"{self.folder}: cannot be read: delete it, or give another --output") from None
        if differs is not None:
            raise BadRequest(
                f"{self.folder} was begun with another {differs} ({found.get(differs)}, now {about[differs]}): "
                "finish it as it was begun, delete it, or give another --output"
            )

    def _claim(self) -> None:
        """Make and lock the folder."""
        if self.folder.exists() and not (self.folder.is_dir() and all(map(_is_own, self.folder.iterdir()))):
            raise BadRequest(f"{self.folder} is something else: move it, or give another --output")
        with explained(str(self.folder)):
            self.folder.mkdir(exist_ok=True)
            self._lock = FileLock(self.folder / _LOCK)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise BadRequest(f"another process is writing {self.folder}: wait for it") from None

    def read(self) -> None:
        """Find the rows that are kept, by this process and others."""
        self._log = np.full(self.total, -1, np.int32)
        self._start = np.zeros(self.total, np.int64)
        self._marks = np.zeros(self.total, np.uint8)
        self._logs = sorted(self.folder.glob(f"*{_ENDING}"))
        for number, log in enumerate(self._logs):
            with open_regular(log) as file:
                place = 0
                while (record := _next(file)) is not None:
                    if record.place < self.total and not (record.marks & _FAILED and self._log[record.place] >= 0):
                        self._log[record.place], self._start[record.place] = number, place
                        self._marks[record.place] = record.marks
                    place = file.tell()

    def missing(self, *, again: bool = True) -> NDArray[np.int64]:
        """Places of images without a row. `again`: also of those that could not be read, which may be mended now."""
        lacks = (self._log < 0) | ((self._marks & _FAILED > 0) & again)
        return np.flatnonzero(lacks)

    def add(self, rows: Sequence[tuple[int, Answer | Failed, str]]) -> None:
        """Keep the texts of some images, by their places. FgvcError if they cannot be written."""
        with explained(str(self.folder)):
            if self._own is None:
                self._own = (self.folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}{_ENDING}").open("xb")
            self._own.write(b"".join(_record(place, marks_of(row), text) for place, row, text in rows))
            self._own.flush()

    def end(self) -> None:
        """This process adds no more: what it has added is on the disk, where other machines see it."""
        if self._own is not None:
            with explained(str(self.folder)):
                os.fsync(self._own.fileno())
                self._own.close()
            self._own = None

    def counts(self) -> Counts:
        """The outcomes of all images that have a row."""
        found = Counts()
        for marks, images in enumerate(np.bincount(self._marks[self._log >= 0]).tolist()):
            found.add(marks, images)
        return found

    def lines(self) -> Iterator[str]:
        """The texts of all images, in order. FgvcError if one is lost."""
        files = [open_regular(log) for log in self._logs]
        try:
            for place in range(self.total):
                number = int(self._log[place])
                record = None
                if number >= 0:
                    if files[number].tell() != self._start[place]:
                        files[number].seek(self._start[place])
                    record = _next(files[number])
                if record is None or record.place != place:
                    raise FgvcError(f"{self.folder}: rows are lost: the same command computes them again")
                yield record.text.decode("utf-8", "surrogatepass")
        finally:
            for file in files:
                file.close()

    def remove(self) -> None:
        """Delete the folder."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Let another process go on."""
        if self._own is not None:
            self._own.close()
        if self._lock is not None:
            self._lock.release()


def _is_own(path: Path) -> bool:
    """Whether fgvc wrote a file of such a folder."""
    return path.name in (_ABOUT, _LOCK) or path.suffix == _ENDING or path.name.startswith(TEMPORARY)


def _record(place: int, marks: int, text: str) -> bytes:
    content = text.encode("utf-8", "surrogatepass")
    return _HEAD.pack(place, len(content), marks, _sum(place, marks, content)) + content


def _next(file: IO[bytes]) -> _Record | None:
    """The record at the file's position; None at the end, or where it is damaged."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    place, length, marks, checksum = _HEAD.unpack(head)
    text = file.read(length)
    if len(text) < length or checksum != _sum(place, marks, text):
        return None
    return _Record(place, marks, text)


def _sum(place: int, marks: int, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(_HEAD.pack(place, len(text), marks, 0)))
