"""The state of an installed dataset: a quick check, and the marker and checksums that an installation writes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from fgvc_cli.data.catalog import locate
from fgvc_cli.data.download.archives import BUNDLES
from fgvc_cli.data.download.progress import SILENT, Progress
from fgvc_cli.data.facts import CATALOG
from fgvc_cli.errors import FgvcError
from fgvc_cli.files import open_regular, read_text
from fgvc_cli.values import parse

MARKER = "fgvc-complete.json"
SUMS = "fgvc-sha256.txt"  # lines as `sha256sum` writes them: `sha256sum -c fgvc-sha256.txt` checks them too
_ESCAPES = {"\n": r"\n", "\r": r"\r", "\\": r"\\"}
_MEANT = {escape: letter for letter, escape in _ESCAPES.items()}
_COUNTED = 200_000  # files; more are not counted, since that takes minutes on a network disk


@dataclass(frozen=True)
class Marker:
    """The state of a dataset at the end of its installation: complete if `full`, else `notes` say what it lacked."""

    dataset: str
    covers: tuple[str, ...]
    files: int
    full: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Here:
    """The state of a dataset's folder. `note`: what is missing or wrong; empty if it is complete."""

    folder: Path
    whole: bool
    note: str


def look(name: str, root: Path | None) -> Here | None:
    """A quick check of a dataset: by its marker and its number of files, else by its lists.

    None if it is not found. Images are not opened.
    """
    folder = locate(name, root)
    if folder is None:
        return None
    marker = read_marker(folder)
    if marker is None or name not in (marker.dataset, *marker.covers):
        return _by_lists(name, folder)
    left = sum(1 for _ in files_of(folder)) if marker.files <= _COUNTED else marker.files
    if left < marker.files:
        return Here(folder, False, f"{marker.files - left} of its {marker.files} files are missing")
    return Here(folder, marker.full, "; ".join(marker.notes))


def _by_lists(name: str, folder: Path) -> Here:
    """The state found by the dataset's loader, which reads the lists and checks which images exist."""
    from fgvc_cli.data.datasets import load_index  # imported here, since it imports PyTorch
    from fgvc_cli.spec.data import DataSpec

    try:
        index = load_index(DataSpec.model_validate({"dataset": name, "root": folder}))
    except FgvcError as error:
        return Here(folder, False, str(error))
    facts = CATALOG[name]
    counts = (len(index.classes), len(index.train), len(index.test))
    full = counts == (facts.classes, facts.train, facts.test)
    return Here(folder, full, "" if full else "; ".join(index.notes))


def read_marker(folder: Path) -> Marker | None:
    """The marker of a dataset's folder; None if it is missing or unreadable."""
    try:
        known = parse(read_text(folder / MARKER))
        return Marker(**(known | {"covers": tuple(known["covers"]), "notes": tuple(known["notes"])}))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def seal(folder: Path, name: str, full: bool, notes: tuple[str, ...], progress: Progress = SILENT) -> None:
    """Write the checksums of all files and the marker into a folder that is not yet renamed into place."""
    files = sorted(files_of(folder))
    with (folder / SUMS).open("w", encoding="utf-8", errors="surrogateescape") as sums:
        for done, file in enumerate(files, start=1):
            sums.write(_sum_line(sha256(folder / file), file))
            progress.advance("recording checksums", done, len(files), "files")
    marker = Marker(name, BUNDLES[name].covers, len(files), full, notes)
    (folder / MARKER).write_text(json.dumps(asdict(marker), indent=2) + "\n", encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """File → SHA-256 as recorded at installation; empty if nothing was recorded."""
    try:
        lines = read_text(folder / SUMS, errors="surrogateescape", newline="\n").removesuffix("\n").split("\n")
    except OSError:
        return {}
    return dict(map(_parsed_sum, lines))


def _sum_line(known: str, file: str) -> str:
    """A line as `sha256sum` writes it: a backslash in front says that the name has escapes."""
    escaped = "".join(_ESCAPES.get(letter, letter) for letter in file)
    return f"{'' if escaped == file else chr(92)}{known}  {escaped}\n"


def _parsed_sum(line: str) -> tuple[str, str]:
    """File and checksum of a line of `_sum_line`."""
    known, _, file = line.partition("  ")
    if known.startswith("\\"):
        file = re.sub(r"\\[nr\\]", lambda found: _MEANT[found[0]], file)
    return file, known.removeprefix("\\")


def sha256(path: Path) -> str:
    """A file's SHA-256."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(folder: Path) -> Iterator[str]:
    """All files of a dataset, paths relative to its folder, except the marker and the checksums."""
    for place, _, names in os.walk(folder):
        prefix = Path(place).relative_to(folder)
        for name in names:
            file = (prefix / name).as_posix()
            if file not in (MARKER, SUMS):
                yield file
