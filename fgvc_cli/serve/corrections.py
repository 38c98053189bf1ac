"""Corrected answers: a CSV file that `fgvc train` reads, and beside it the images that it names.

corrections.csv    path,label,predicted,probability,name: one row an image; the label is `-` for none of the classes
images/ID.jpg      the images, under names made of their content

The file alone is the truth: it is read before each change, so it may be edited, and several servers may share it.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fgvc_cli.csv_text import csv_text, original
from fgvc_cli.data.label_fixes import LEAVE_OUT
from fgvc_cli.errors import FgvcError
from fgvc_cli.files import NotWritable, explained, make_folder, make_parent, read_text, write_atomically, write_text

FILE, IMAGES = "corrections.csv", "images"
_HEADER = ("path", "label", "predicted", "probability", "name")
_SECONDS = 10  # to wait for another process that writes


@dataclass(frozen=True)
class Correction:
    """What an image really is."""

    path: str  # relative to the CSV file
    label: str  # a class, or LEAVE_OUT
    predicted: str = ""
    probability: str = ""  # of the predicted class, as written
    name: str = ""  # of the file that the user sent

    @property
    def id(self) -> str:
        """The image's id."""
        return Path(self.path).stem

    @property
    def class_name(self) -> str | None:
        """The class; None: none of the classes."""
        return None if self.label == LEAVE_OUT else self.label


class Corrections:
    """The corrections in a folder, which is made with the first of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / FILE

    def read(self) -> dict[str, Correction]:
        """Image's id → its correction, oldest first. FgvcError if the file cannot be read."""
        try:
            text = read_text(self.file, errors="surrogateescape", newline="")
            rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
            found = [Correction(*(original(row.get(name) or "") for name in _HEADER)) for row in rows]
        except FileNotFoundError:
            return {}
        except (OSError, csv.Error) as error:
            said = getattr(error, "strerror", None) or error
            raise FgvcError(f"cannot read {self.file}: {said}; move it away to begin a new one") from None
        if any(not (one.path and one.label) for one in found):
            raise FgvcError(f"{self.file}: needs a path and a label in every row; move it away to begin a new one")
        return {one.id: one for one in found}

    def put(self, image: Path, label: str | None, predicted: str, probability: float, name: str) -> Correction:
        """Record what an image is, and keep a copy of it. An earlier correction of the same image is replaced.

        Args:
            image: a file whose name is its id, with the ending of its format.
            label: a class; None: none of the classes.
            predicted: the model's answer.
            probability: of that.
            name: of the file that the user sent; it is only recorded.

        Raises:
            FgvcError: something cannot be read or written.
        """
        path = f"{IMAGES}/{image.name}"
        one = Correction(path, LEAVE_OUT if label is None else label, predicted, f"{probability:.6f}", name)
        with self._changing():
            self._keep(image)
            self._write([*(other for other in self.read().values() if other.id != one.id), one])
        return one

    def remove(self, id: str) -> bool:
        """Take a correction back, and its copy of the image; false if there is none."""
        if id not in self.read():
            return False
        with self._changing():
            there = self.read()
            gone = there.pop(id, None)
            self._write(list(there.values()))
            kept = [
                file for file in (self.folder / IMAGES).glob(f"{id}.*") if gone and file.name == Path(gone.path).name
            ]
            for file in kept:
                file.unlink(missing_ok=True)
        return gone is not None

    def _keep(self, image: Path) -> None:
        """Copy an image, unless it is there already: its name says its content."""
        make_folder(self.folder / IMAGES)
        copy = self.folder / IMAGES / image.name
        if not copy.exists():
            write_atomically(copy, lambda temporary: shutil.copyfile(image, temporary))

    def _write(self, rows: Sequence[Correction]) -> None:
        write_text(self.file, csv_text(_HEADER, ([getattr(one, name) for name in _HEADER] for one in rows)))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Inside this context no other process changes the file."""
        try:
            make_parent(self.file)
            with self._locked():
                yield
        except NotWritable:
            said = f"{self.folder} cannot be written: start fgvc serve with --corrections and another folder"
            raise FgvcError(said) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self.folder / ".lock")
        with explained(str(self.file)):
            try:
                lock.acquire(timeout=_SECONDS)
            except Timeout:
                raise FgvcError(f"another process is writing {self.file}") from None
        try:
            yield
        finally:
            lock.release()
