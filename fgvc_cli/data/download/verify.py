"""Verify a dataset: its lists agree, its counts are official, its images decode, and no file was changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.download.archives import BUNDLES
from fgvc_cli.data.download.lists import contradictions
from fgvc_cli.data.download.progress import SILENT, Progress
from fgvc_cli.data.download.state import files_of, read_sums, sha256
from fgvc_cli.data.facts import CATALOG
from fgvc_cli.data.images.names import is_image_path
from fgvc_cli.data.images.read import ImageError, read_image
from fgvc_cli.data.images.survey import survey
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import FgvcError
from fgvc_cli.spec.data import DataSpec


@dataclass(frozen=True)
class Verdict:
    """The result of a verification.

    `notes` say how an undamaged set differs from the official one; `problems` are damage; `doubts` are contradictions
    that do not prevent reading, but may come from a lost line.
    """

    name: str
    folder: Path
    classes: int
    train: int
    test: int
    full: bool
    decoded: int  # images
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def verify(
    name: str,
    folder: Path,
    *,
    decode: bool = True,
    hashes: bool = False,
    train: int | None = None,
    progress: Progress = SILENT,
) -> Verdict:
    """Verify a dataset's folder: its lists, its counts and, with `decode`, every image.

    `hashes`: compare every file with its checksum, recorded at installation. `train`: the number of training images of
    the full set, if not the official one. Damaged data raise no error: the verdict names them.
    """
    facts, files = CATALOG[name], sorted(files_of(folder))
    images = [file for file in files if is_image_path(PurePosixPath(file))]
    index, problems = _lists(name, folder, progress)
    problems += _undecodable(folder, images, progress) if decode else []
    problems += _changed(folder, set(files), hashes, progress)
    counts = (len(index.classes), len(index.train), len(index.test)) if index else (0, 0, 0)
    full = counts == (facts.classes, train or facts.train, facts.test)
    notes, doubts = index.notes if index else (), _contradictions(name, folder)
    left = _unlisted(name, index, images) if index else []
    if left and full:  # all counts are official, so no line was lost
        notes += (f"{len(left)} images are in no list and are not used (first: {left[0]})",)
    elif left:
        doubts += [f"{folder / file}: is in no list: its label is lost, or it does not belong there" for file in left]
    return Verdict(
        name,
        folder,
        *counts,
        full=full,
        decoded=len(images) if decode else 0,
        notes=notes,
        problems=tuple(problems),
        doubts=tuple(doubts),
    )


def _lists(name: str, folder: Path, progress: Progress) -> tuple[DatasetIndex | None, list[str]]:
    """The index, and the loader's errors about the lists at each label level."""
    index: DatasetIndex | None = None
    problems: list[str] = []
    for level in (None, *CATALOG[name].levels):
        values = {"dataset": name, "root": folder} | ({} if level is None else {"level": level})
        try:
            found = load_index(DataSpec.model_validate(values), progress=_steps(progress))
            index = index or found
        except FgvcError as error:
            problems.append(str(error))
    return index, problems


def _contradictions(name: str, folder: Path) -> list[str]:
    try:
        return contradictions(name, folder)
    except FgvcError:  # a list that cannot be read: the loader has reported it
        return []


def _undecodable(folder: Path, images: list[str], progress: Progress) -> list[str]:
    """An error for each image that cannot be decoded completely."""

    def decode(path: Path) -> str:
        read_image(path)
        return ""

    found = survey("decoding images", folder, images, decode, _steps(progress), anew=True)
    return [str(finding) for finding in found if isinstance(finding, ImageError)]


def _steps(progress: Progress) -> Callable[[str, int, int], None]:
    """The progress function for dataset loaders."""
    return lambda what, done, total: progress.advance(what, done, total, "steps")


def _unlisted(name: str, index: DatasetIndex, images: list[str]) -> list[str]:
    """Images in the folders of listed images that are in no list, except those that the official archive has."""
    listed = {file for split in index.splits().values() for file in split.files}
    places = {file.partition("/")[0] for file in listed}
    left = [file for file in images if file not in listed and file.partition("/")[0] in places]
    pattern, number = BUNDLES[name].strays if name in BUNDLES else ("", 0)
    official = [file for file in left if fnmatch(file, pattern)]
    if len(official) <= number:
        left = [file for file in left if file not in official]
    return left


def _changed(folder: Path, files: set[str], hashes: bool, progress: Progress) -> list[str]:
    """Files that are missing since installation and, with `hashes`, files that were changed."""
    known = read_sums(folder)
    if hashes and not known:
        return [f"{folder}: has no recorded checksums, since fgvc did not install it; leave --hash out"]
    problems = [f"{folder / file}: is missing" for file in known if file not in files]
    for done, file in enumerate(sorted(files & set(known)) if hashes else (), start=1):
        progress.advance("comparing checksums", done, len(known), "files")
        if sha256(folder / file) != known[file]:
            problems.append(f"{folder / file}: was changed since it was installed")
    return problems
