"""The files that a list names, found on disk, where their names may be written otherwise."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from fgvc_cli.data.alike import Alike, difference


class _Disk:
    """The folders below a root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.places: dict[str, str | None] = {}  # folder as listed → as on disk
        self.entries = lru_cache(maxsize=8)(self._entries)  # parents of folders that are spelled otherwise

    def find(self, folder: str, name: str) -> str | None:
        """A path as on disk; None if there is none, or several that look alike."""
        place = self.place(folder)
        found = None if place is None else self.entries(place).find(name)
        return found and _joined(place, found)

    def place(self, folder: str) -> str | None:
        """A folder as it is on disk."""
        if folder not in self.places:
            there = not folder or (self.root / folder).is_dir()
            above, _, name = folder.rpartition("/")
            self.places[folder] = folder if there else self.find(above, name)
        return self.places[folder]

    def _entries(self, folder: str) -> Alike:
        with contextlib.suppress(OSError), os.scandir(self.root / folder) as entries:
            return Alike(entry.name for entry in entries)
        return Alike(())


def on_disk(root: Path, files: Sequence[str]) -> list[str | None]:
    """Each file's path as it is on disk; None if it is not there. Each folder is listed once, and no file is opened.

    A name that differs from the list's in Unicode form, case, blanks or characters without width is the file's, if no
    other name in its folder is as close.
    """
    inside: dict[str, list[int]] = {}
    for i, file in enumerate(files):
        inside.setdefault(file.rpartition("/")[0], []).append(i)
    disk = _Disk(root)
    found: list[str | None] = [None] * len(files)
    for folder, positions in inside.items():
        place = disk.place(folder)
        entries = Alike(()) if place is None else disk.entries(place)
        for i in positions:
            name = files[i].rpartition("/")[2]
            there = entries.find(name)
            # One text, not two, for each of a million files.
            found[i] = files[i] if there == name and place == folder else there and _joined(place, there)
    return found


def _joined(place: str | None, name: str) -> str:
    return f"{place}/{name}" if place else name


def near_on_disk(root: Path, file: str) -> str:
    """What an error about a missing file adds: the names in its folder that look alike and what differs."""
    folder, _, name = file.rpartition("/")
    disk = _Disk(root)
    place = disk.place(folder)
    return "" if place is None else disk.entries(place).hint(name)


def spelling_notes(files: Sequence[str], found: Sequence[str | None]) -> tuple[str, ...]:
    """A note about the files whose names are written otherwise in the list and on disk."""
    pairs = [(file, there) for file, there in zip(files, found, strict=True) if there not in (None, file)]
    if not pairs:
        return ()
    file, there = pairs[0]
    what = "1 listed file is" if len(pairs) == 1 else f"{len(pairs)} listed files are"
    return (f"{what} spelled otherwise on disk (first: {file!r} is {there!r}, {difference(file, there or '')})",)
