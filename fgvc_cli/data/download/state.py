"""What is here of a dataset: a quick look, and what an installation leaves behind: marker and checksums."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from fgvc_cli.data.catalog import locate
from fgvc_cli.data.download.archives import BUNDLES
from fgvc_cli.data.download.progress import SILENT, Progress
from fgvc_cli.data.facts import CATALOG
from fgvc_cli.errors import FgvcError

MARKER = "fgvc-complete.json"
SUMS = "fgvc-sha256.txt"  # lines as `sha256sum` writes them: `sha256sum -c fgvc-sha256.txt` checks them too
_COUNTED = 200_000  # files: counting more on a network disk takes minutes


@dataclass(frozen=True)
class Marker:
    """What an installation was when it was finished: it was whole if `full`, else `notes` say what it lacked."""

    dataset: str
    covers: tuple[str, ...]
    files: int
    full: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Here:
    """What is in a dataset's folder. `note`: what it lacks, or what is wrong; empty if it is whole."""

    folder: Path
    whole: bool
    note: str


def look(name: str, root: Path | None) -> Here | None:
    """What is here of the dataset, at a glance: by the marker and the number of files, else by its lists.

    None if it is nowhere. Images are not opened.
    """
    folder = locate(name, root)
    if folder is None:
        return None
    marker = read_marker(folder)
    if marker is None or name not in (marker.dataset, *marker.covers):
        return _by_lists(name, folder)
    left = sum(1 for _ in files_of(folder)) if marker.files <= _COUNTED else marker.files
    if left < marker.files:
        return Here(folder, False, f"{marker.files - left} of its {marker.files} files are gone")
    return Here(folder, marker.full, "; ".join(marker.notes))


def _by_lists(name: str, folder: Path) -> Here:
    """By the dataset's own loader, which reads lists and sees which images are there."""
    from fgvc_cli.data.datasets import load_index  # here: it loads PyTorch
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
    """The marker of a dataset's folder, None where there is none that can be read."""
    try:
        known = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return Marker(**(known | {"covers": tuple(known["covers"]), "notes": tuple(known["notes"])}))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def seal(folder: Path, name: str, full: bool, notes: tuple[str, ...], progress: Progress = SILENT) -> None:
    """Write the checksums of all files and the marker into a folder that is not in its place yet."""
    files = sorted(files_of(folder))
    with (folder / SUMS).open("w", encoding="utf-8", errors="surrogateescape") as sums:
        for done, file in enumerate(files, start=1):
            sums.write(f"{sha256(folder / file)}  {file}\n")
            progress.advance("noting checksums", done, len(files), "files")
    marker = Marker(name, BUNDLES[name].covers, len(files), full, notes)
    (folder / MARKER).write_text(json.dumps(asdict(marker), indent=2) + "\n", encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """File → SHA-256 as noted when the dataset was put there; empty where nothing was noted."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return {}
    return {file: known for known, _, file in (line.partition("  ") for line in lines)}


def sha256(path: Path) -> str:
    """A file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(folder: Path) -> Iterator[str]:
    """All files of a dataset, paths relative to its folder, but not those that fgvc put there."""
    for place, _, names in os.walk(folder):
        prefix = Path(place).relative_to(folder)
        for name in names:
            file = (prefix / name).as_posix()
            if file not in (MARKER, SUMS):
                yield file
