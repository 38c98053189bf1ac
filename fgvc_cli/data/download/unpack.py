"""Unpack or copy archives, single files and folders into a dataset's folder. Nothing is written outside of it."""

from __future__ import annotations

import errno
import gzip
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from fgvc_cli.data.download.extract import Limits, extract, is_archive
from fgvc_cli.data.download.progress import SILENT, Progress
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import copy_folder, must_be_file

LOOSE = Limits()  # of no dataset in particular
_DEPTH = 4  # how many folder levels are searched for the dataset's own folder
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    ValueError,
    RuntimeError,
)
_PACKED = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")  # first bytes of zip, gzip, bzip2 and xz files
_OTHERS = {b"Rar!": " but RAR", b"7z\xbc\xaf": " but 7z", b"<!DO": " but a web page", b"<htm": " but a web page"}


def unpack(
    source: Path, home: Path, contents: Sequence[str], progress: Progress = SILENT, limits: Limits = LOOSE
) -> None:
    """Put the content of an archive, a folder or a single file into the dataset's folder `home`.

    In an archive or folder, the dataset's own folder is the topmost one that holds one of `contents`; files outside of
    it are left out. `limits`: what an archive of this dataset may hold. FgvcError or BadRequest, one line, for a
    source that is damaged, unsafe or not a known kind.
    """
    home.mkdir(parents=True, exist_ok=True)
    if source.name in contents and source.is_file():
        _copy(source, home / source.name)
        return
    inside = Path(tempfile.mkdtemp(prefix="unpacking-", dir=home.parent))
    try:
        _expand(source, inside, limits, progress)
        found = _own_folder(inside, contents)
        if found is None:
            raise BadRequest(
                f"{source}: holds none of {', '.join(contents)}; is it the right file for this dataset? "
                "(unpack archives that are inside archives first)"
            )
        _merge(found, home, source)
    finally:
        shutil.rmtree(inside, ignore_errors=True)


def _expand(source: Path, into: Path, limits: Limits, progress: Progress) -> None:
    try:
        if source.is_dir():
            progress.say(f"copying {source}")
            for link in copy_folder(source, into):
                progress.say(f"{link} is passed over: it leads to a folder that is copied already")
            return
        must_be_file(source)
        if is_archive(source):
            extract(source, into, limits, progress)
        else:
            raise _unknown(source)
    except _DAMAGED as error:
        raise FgvcError(f"{source}: is damaged or cut off ({_first_line(error)}); get it again") from None
    except OSError as error:
        raise FgvcError(_why(source, into, error)) from None


def _own_folder(inside: Path, contents: Sequence[str]) -> Path | None:
    """The topmost folder that holds one of `contents`."""
    return next(
        (folder for folder in _by_depth(inside) if any((folder / name).exists() for name in contents)),
        None,
    )


def _by_depth(folder: Path) -> Iterator[Path]:
    level = [folder]
    for _ in range(_DEPTH):
        yield from level
        level = sorted(path for folder in level for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _merge(source: Path, home: Path, archive: Path) -> None:
    """Move the content of `source` into `home`; folders that exist in both are merged."""
    for path in sorted(source.iterdir()):
        target = home / path.name
        if not target.exists():
            path.rename(target)
        elif path.is_dir() and target.is_dir():
            _merge(path, target, archive)
        elif not (path.is_file() and target.is_file() and path.read_bytes() == target.read_bytes()):
            raise BadRequest(f"{archive}: holds another {path.name} than an archive before it; give only one of them")


def _copy(source: str | Path, target: str | Path) -> None:
    """Copy a file's bytes without its permissions, so that the copy can be deleted."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise FgvcError(_why(Path(source), Path(target), error)) from None


def _unknown(source: Path) -> FgvcError:
    with source.open("rb") as file:
        head = file.read(8)
    if not head or head.startswith(_PACKED):
        return FgvcError(f"{source}: is damaged or cut off; get it again")
    kind = _OTHERS.get(head[:4], "")
    return BadRequest(
        f"{source}: is not a tar or zip archive{kind}; unpack it yourself and pass the folder with --from-archive"
    )


def _why(source: Path, into: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{source}: no room to unpack it in {into.parent}: the disk is full; free some space and run the same "
            "command again (what was downloaded is kept), or choose another disk with --root"
        )
    return f"{source}: cannot be unpacked into {into.parent} ({getattr(error, 'strerror', None) or error})"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
