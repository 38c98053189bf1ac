"""Extract tar and zip archives by a bounded copy of our own: regular files and folders, inside one new folder.

No dataset needs links, devices or pipes, so any member of another kind is refused by its header. Names are checked
after they are split into parts. Files are created anew (never opened over another one), so two names for one file are
refused on every file system, also on one that does not tell upper from lower case. Modes follow the umask.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from fgvc_cli.data.download.progress import Progress
from fgvc_cli.errors import FgvcError

_CHUNK = 1 << 20  # bytes copied at a time
LARGEST_READ = 1 << 20  # bytes of one header: names may be long, but not that long
_ENTRY = 512  # bytes of a member in a zip file's directory, on average
_HEADERS = 2048  # bytes of a tar's headers and padding for one member
_STEP_BACK = 1024  # bytes: tarfile steps back by one byte
_RATIO, _SLACK = 100, 64 << 20  # a compressed file may unpack to so many times its size, and so many bytes more
_DEPTH, _PART, _PATH = 32, 255, 1024  # folders in a path, bytes of a name, bytes of a path
_DRIVE = re.compile(r"[A-Za-z]:")

_OUTSIDE = "which would be written outside of the dataset's folder"
_NOT_A_FILE = "which is a link, device or pipe, and no dataset needs one"
_TWICE = "which is there twice, or differs from another name only in a way that this disk does not tell"

PLAIN_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_OPENERS: dict[bytes, Callable[[IO[bytes]], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


@dataclass(frozen=True)
class Limits:
    """What an archive of a dataset may hold at most."""

    members: int = 10_000_000
    total: int = 1 << 40  # bytes unpacked
    single: int = 1 << 34  # bytes of one file


class Unsafe(FgvcError):
    """An archive that holds what no dataset's archive holds."""


def is_archive(source: Path) -> bool:
    """Whether a file is a zip, or a tar that may be compressed."""
    if zipfile.is_zipfile(source):
        return True
    try:
        with _opened_tar(_Place(source, source.parent, Limits())):
            return True
    except (tarfile.TarError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError):
        return False


def extract(source: Path, into: Path, limits: Limits, progress: Progress) -> None:
    """Extract an archive into a folder that is empty.

    Raises Unsafe for what an archive should not hold, OSError where it cannot be written, and exceptions of tarfile,
    zipfile and the decompressors for damage.
    """
    place = _Place(source, into, limits)
    if zipfile.is_zipfile(source):
        _extract_zip(place, progress)
    else:
        _extract_tar(place, progress)


@dataclass
class _Place:
    """The folder that an archive is extracted into, and what has been extracted."""

    source: Path
    into: Path
    limits: Limits
    members: int = 0
    total: int = 0  # bytes
    folders: set[Path] = field(default_factory=set)
    most: int = field(init=False)  # bytes in all

    def __post_init__(self) -> None:
        self.folders.add(self.into)
        self.most = min(self.limits.total, _RATIO * self.source.stat().st_size + _SLACK)

    def refuse(self, name: str, why: str) -> Unsafe:
        """The error about a member."""
        return Unsafe(
            f"{self.source}: holds {name!r}, {why}; nothing was unpacked: get the archive from its official source"
        )

    def too_much(self, what: str) -> Unsafe:
        """The error about an archive that exceeds a limit."""
        return Unsafe(
            f"{self.source}: holds {what} than this dataset has; nothing was unpacked: get the archive from its "
            "official source"
        )

    def count(self, name: str, size: int) -> None:
        """Count a member of so many bytes, before it is extracted."""
        self.members += 1
        self.total += size
        if self.members > self.limits.members:
            raise self.too_much("more files")
        if size < 0:
            raise ValueError(f"{name!r} has a negative size")
        if size > self.limits.single:
            raise self.too_much(f"{name!r}, a larger file")
        if self.total > self.most:
            raise self.too_much("more bytes")

    def target(self, name: str, *, folder: bool) -> Path | None:
        """Where a member goes; None for the folder that holds all. Its folders are made."""
        parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
        self._check(name, parts, folder=folder)
        parents = parts if folder else parts[:-1]
        path = self.into
        for part in parents:
            path /= part
            self._make(name, path)
        return None if folder else path / parts[-1]

    def _check(self, name: str, parts: list[str], *, folder: bool) -> None:
        if name[:1] in ("/", "\\") or ".." in parts or (parts and _DRIVE.match(parts[0])):
            raise self.refuse(name, _OUTSIDE)
        if "\0" in name or not (parts or folder):
            raise self.refuse(name, "which is no file's name")
        lengths = [len(os.fsencode(part)) for part in parts]
        if max(lengths, default=0) > _PART or sum(lengths) + len(parts) > _PATH or len(parts) > _DEPTH:
            raise self.refuse(f"{name[:40]}...", "a name that is too long or too deep")

    def _make(self, name: str, folder: Path) -> None:
        """Make a folder. One that exists must have been made by exactly this name."""
        if folder not in self.folders:
            try:
                folder.mkdir()
            except FileExistsError:
                raise self.refuse(name, _TWICE) from None
            self.folders.add(folder)

    def copy(self, name: str, size: int, stream: IO[bytes]) -> None:
        """Write a regular file of exactly `size` bytes."""
        target = self.target(name, folder=False)
        assert target is not None
        try:
            file = target.open("xb")
        except FileExistsError:
            raise self.refuse(name, _TWICE) from None
        with file:
            left = size
            while left and (data := stream.read(min(_CHUNK, left))):
                file.write(data)
                left -= len(data)
        if left:
            raise EOFError(f"{name!r} is cut off")


class Bounded:
    """A file in which no read is large, no position is far, and nobody goes back far: a damaged header can ask for it.

    The readers of archives believe the sizes in headers. A large one would take all memory, a negative one never end.
    """

    def __init__(
        self,
        file: IO[bytes],
        largest: int,
        most: int | None = None,
        too_much: Callable[[str], Exception] = ValueError,
    ) -> None:
        self._file, self._largest, self._most, self._too_much = file, largest, most, too_much

    def read(self, count: int = -1) -> bytes:
        """At most `count` bytes; without a count the rest, which zipfile asks for at the end of a file."""
        if count < 0 and self._most is None:
            here = self._file.tell()
            count = self._file.seek(0, os.SEEK_END) - here
            self._file.seek(here)
        if not 0 <= count <= self._largest:
            raise ValueError("a header names an impossible size")
        try:
            data = self._file.read(count)
        except OSError as error:
            if error.errno is None:  # so bz2 and gzip report damage
                raise ValueError(str(error)) from None
            raise
        if self._most is not None and self._file.tell() > self._most:
            raise self._too_much("more bytes")
        return data

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place. In a compressed tar only forwards, since going back starts anew."""
        if self._most is not None:
            here = self._file.tell()
            if whence != os.SEEK_SET or place < here - _STEP_BACK:
                raise ValueError("a header names an impossible size")
            if place > self._most:
                raise self._too_much("more bytes")
        return self._file.seek(place, whence)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def seekable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Nothing: who opened the file closes it."""


@contextmanager
def _opened_tar(place: _Place) -> Iterator[tuple[tarfile.TarFile, Bounded, IO[bytes]]]:
    """The tar, the unpacked bytes below it, and the file itself."""
    with place.source.open("rb") as raw:
        head = raw.read(6)
        raw.seek(0)
        opened = next((opener(raw) for magic, opener in _OPENERS.items() if head.startswith(magic)), raw)
        bounded = Bounded(opened, LARGEST_READ, place.most + _HEADERS * place.limits.members, place.too_much)
        with tarfile.TarFile(fileobj=bounded) as tar:  # type: ignore[arg-type]
            yield tar, bounded, raw


def _extract_tar(place: _Place, progress: Progress) -> None:
    size = place.source.stat().st_size
    with _opened_tar(place) as (tar, bounded, raw):
        while (member := tar.next()) is not None:
            vars(tar)["members"].clear()  # tarfile stores every header: gigabytes for millions of images
            _extract_member(place, tar, member)
            progress.advance(f"unpacking {place.source.name}", raw.tell(), size)
        while bounded.read(_CHUNK):  # to the end, where gzip stores the checksum
            pass


def _extract_member(place: _Place, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if member.isdir():
        place.count(member.name, 0)
        place.target(member.name, folder=True)
        return
    if member.type not in PLAIN_TYPES or member.issparse():
        raise place.refuse(member.name, _NOT_A_FILE)
    place.count(member.name, member.size)
    stream = tar.extractfile(member)
    assert stream is not None
    with stream:
        place.copy(member.name, member.size, stream)


def _extract_zip(place: _Place, progress: Progress) -> None:
    """zipfile compares the CRCs, and unpacks no more of a member than its header says."""
    with place.source.open("rb") as raw:
        bounded = Bounded(raw, max(LARGEST_READ, _ENTRY * place.limits.members), None, place.too_much)
        with zipfile.ZipFile(bounded) as archive:
            members = archive.infolist()
            for member in members:
                place.count(member.filename, member.file_size)
                _must_be_plain(place, member)
            if place.total > shutil.disk_usage(place.into).free:
                raise OSError(errno.ENOSPC, "")
            done = 0
            for member in members:
                if _is_folder(member):
                    place.target(member.filename, folder=True)
                    continue
                with archive.open(member) as stream:
                    place.copy(member.filename, member.file_size, stream)
                done += member.file_size
                progress.advance(f"unpacking {place.source.name}", done, place.total)


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return member.filename[-1:] in ("/", "\\") or stat.S_ISDIR(member.external_attr >> 16)


def _must_be_plain(place: _Place, member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise place.refuse(member.filename, _NOT_A_FILE)
    if member.compress_type not in _ZIP_METHODS:
        raise place.refuse(member.filename, "compressed in a way that fgvc does not unpack")
