"""The images that a user names: files, folders, patterns, a list on stdin, or a split of a dataset."""

from __future__ import annotations

import codecs
import glob
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR
from typing import TextIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.images.listing import is_own, list_images, passed_over_notes
from fgvc_cli.data.images.names import has_image_ending, is_system
from fgvc_cli.data.images.read import ImageError, Part
from fgvc_cli.data.images.tars import TAR_ENDING, is_tar, list_tar
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded

STDIN = "-"
_READERS = 4
OnBad = Callable[["Picture", ImageError], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)  # there may be millions
class Picture:
    """One image and what is known about it."""

    name: str  # for messages: the path as given, or relative to the dataset's folder
    file: Path  # of an image in a tar: the tar's path and the image's name in it
    label: int | None = None  # true class
    box: NDArray[np.float32] | None = None  # (4,) true box, xyxy half-open, pixels of the original image
    cut_bottom: int = 0  # rows at the bottom that do not belong to the image
    position: int | None = None  # index in its split
    part: Part | None = None  # of another file: an image in a tar
    pixels: NDArray[np.uint8] | None = None  # (H, W, 3) RGB of an image in memory, in the place of the file


def find_pictures(
    words: Iterable[str],
    lines: Iterable[str] = (),
    *,
    follow_links: bool = False,
    tars: bool = False,
    note: Callable[[str], object] = lambda text: None,
) -> list[Picture]:
    """The images named by the words on the command line, in the order given, each once.

    Args:
        words: an image file, a folder (all images below it, sorted), a glob pattern, or `-` for `lines`.
        lines: the same, one per line, from stdin. A line that names nothing becomes an image that cannot be read, so
            that one bad line does not stop the reading of a long list.
        follow_links: also read linked folders inside the named folders.
        tars: also find the images in tars (`fgvc_cli.data.images.tars`): in a named one, in all that a pattern such as
            `{000..099}.tar` names, and in those of a folder without other images. What is damaged there becomes an
            image that cannot be read.
        note: called with notes about what is passed over in a folder.

    Raises:
        BadRequest: a word names no file, or no image.
    """
    files: dict[Path, None] = {}  # each once
    finder = _Finder(follow_links, tars, note)
    for word in words:
        named = [f for line in lines if line.strip() for f in finder.listed(line.strip())] if word == STDIN else None
        files |= dict.fromkeys(finder.files(word) if named is None else named)
    found = [picture for file in files for picture in finder.pictures(file)]
    if not found:
        raise BadRequest("no image was named: give image files, folders or patterns, or - and a list on stdin")
    return found


def listed(stream: TextIO) -> Iterator[str]:
    """The lines of stdin, read lazily; file names keep bytes that are not valid text.

    A byte order mark at the start, as editors and shells of Windows write it, does not belong to the first name; after
    that of UTF-16 all lines are read as UTF-16.
    """
    lines: Iterator[str | bytes] = iter(stream.buffer if hasattr(stream, "buffer") else stream)
    first = next(lines, "")
    if isinstance(first, bytes) and first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        rest = b"".join(line for line in lines if isinstance(line, bytes))
        yield from (first + rest).decode("utf-16", "replace").splitlines()
        return
    yield _text(first).removeprefix("\ufeff")
    yield from map(_text, lines)


def _text(line: str | bytes) -> str:
    return line if isinstance(line, str) else os.fsdecode(line)


@dataclass(frozen=True)
class _Finder:
    """Finds the images that a word names."""

    follow_links: bool
    tars: bool
    note: Callable[[str], object]

    def listed(self, line: str) -> list[Path]:
        try:
            return self.files(line)
        except BadRequest:
            return [Path(line)]

    def files(self, word: str) -> list[Path]:
        path = expanded(word)
        try:
            status = path.stat()
        except FileNotFoundError:
            numbered = _numbered(word) if self.tars else []
            return [file for one in numbered for file in self.files(one)] or self.matching(path, word)
        except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
            raise BadRequest(f"{word}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
        return self.below(path, word) if S_ISDIR(status.st_mode) else [path]

    def below(self, path: Path, word: str) -> list[Path]:
        listing = list_images(path, follow_links=self.follow_links)
        for text in passed_over_notes(path, listing, follow_links=self.follow_links):
            self.note(f"{word}: {text}")
        tars = [file for file in listing.others if file.lower().endswith(TAR_ENDING)] if self.tars else []
        if not listing.images and not tars:
            raise BadRequest(f"{word}: no image in this folder or below it")
        if listing.images and tars:
            self.note(f"{word}: {len(tars)} tars between images are passed over (first: {tars[0]}); name them")
        return sorted(path / file for file in listing.images or tars)

    def matching(self, path: Path, word: str) -> list[Path]:
        """The images, or else the tars, that a pattern matches. Hidden ones must be asked for, as everywhere."""
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - may be absolute
        start = len(list(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)))
        files = [match for match in matches if match.is_file() and not _passed_over(match, start)]
        images = [file for file in files if has_image_ending(file.name)]
        found = images or [file for file in files if self.tars and file.suffix.lower() == TAR_ENDING]
        if not found:
            raise BadRequest(f"{word}: there is no such file or folder, and no image matches it as a pattern")
        return found

    def pictures(self, file: Path) -> Iterator[Picture]:
        """The images in a file: itself, or those in a tar."""
        if not (self.tars and is_tar(file)):
            yield Picture(str(file), file)
            return
        try:
            entry = None
            for entry in list_tar(file):
                place = file / entry.name.lstrip("/") if entry.name else file
                yield Picture(str(place), place, part=entry.part)
            if entry is None:
                self.note(f"{file}: no image in this tar")
        except OSError as error:
            yield Picture(str(file), file, part=Part(file, wrong=f"cannot be read ({error.strerror or error})"))


_NUMBERS = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 1_000_000


def _numbered(word: str) -> list[str]:
    """`{000..099}.tar` → 000.tar, 001.tar, …; empty without such a pattern."""
    found = _NUMBERS.search(word)
    if found is None:
        return []
    first, last = found.groups()
    if not int(first) <= int(last) < int(first) + _MOST_SHARDS:
        raise BadRequest(f"{word}: {found[0]} must go up, to at most {_MOST_SHARDS:,} files")
    return [f"{word[: found.start()]}{n:0{len(first)}d}{word[found.end() :]}" for n in range(int(first), int(last) + 1)]


def _passed_over(match: Path, start: int) -> bool:
    """Whether one of the path's parts from `start` on, those that a pattern found, is passed over in folders too."""
    found = match.parts[start:]
    folders = [Path(*match.parts[: start + depth]) for depth in range(1, len(found))]
    return any(map(is_system, found)) or any(map(is_own, folders))


def split_pictures(index: DatasetIndex, split: Split, classes: Sequence[str]) -> list[Picture]:
    """A split's images. Labels are positions in `classes`; None if the class is not among them."""
    number = {name: label for label, name in enumerate(classes)}
    labels = [number.get(name) for name in index.classes]
    return [
        Picture(
            name=file,
            file=index.root / file,
            label=labels[split.labels[position]],
            box=None if split.boxes is None else split.boxes[position],
            cut_bottom=index.cut_bottom,
            position=position,
        )
        for position, file in enumerate(split.files)
    ]


def read_ahead(
    pictures: Sequence[Picture], size: int, read: Callable[[Picture], T], on_bad: OnBad | None = None
) -> Iterator[list[tuple[Picture, T]]]:
    """What `read` gives of the pictures, `size` at a time and in order; threads read the next ones meanwhile.

    Args:
        pictures: the images.
        size: images in a batch.
        read: reads one; may raise ImageError.
        on_bad: called with each image that cannot be read, which is then left out, also if no other is in its batch;
            None: the ImageError is raised.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        waiting: deque[list[tuple[Picture, Future[T]]]] = deque()
        try:
            for start in range(0, len(pictures), size):
                chosen = pictures[start : start + size]
                waiting.append([(picture, pool.submit(read, picture)) for picture in chosen])
                if len(waiting) > 1:
                    yield from _gather(waiting.popleft(), on_bad)
            while waiting:
                yield from _gather(waiting.popleft(), on_bad)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _gather(waiting: list[tuple[Picture, Future[T]]], on_bad: OnBad | None) -> Iterator[list[tuple[Picture, T]]]:
    """The images that could be read; nothing if none could."""
    good: list[tuple[Picture, T]] = []
    for picture, future in waiting:
        try:
            good.append((picture, future.result()))
        except ImageError as error:
            if on_bad is None:
                raise
            on_bad(picture, error)
    if good:
        yield good
