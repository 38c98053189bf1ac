"""Atomic writes: after a crash, a file is either the old one or the complete new one."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fgvc_cli.errors import FgvcError

TEMPORARY = ".writing-"


class NotWritable(FgvcError):
    """A file or folder may not be written: its permissions or a read-only disk forbid it."""


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn a failed write into one line that says what could not be written and what to do."""
    try:
        yield
    except BrokenPipeError:  # the reader closed the pipe, which is not a failure
        raise
    except OSError as error:
        kind = NotWritable if error.errno in _FORBIDDEN else FgvcError
        raise kind(f"cannot write {what}: {_advice(error)}") from error


_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_INTACT = "what was saved before is intact"


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "free some space and try again; `fgvc train --resume` continues a training run"
        return f"the disk is full: {advice}; {_INTACT}"
    if error.errno in _FORBIDDEN:
        return f"the folder is not writable, choose another one with --out; {_INTACT}"
    if error.errno == errno.ENOENT:
        return "its folder does not exist (any more); nothing is written in its place"
    return f"{error.strerror or error}; {_INTACT}"


def make_parent(path: Path) -> None:
    """Create the folder of a file whose path the user chose.

    The functions below create no folder, so that a run whose folder was deleted stays deleted.
    """
    with explained(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)


def make_folder(path: Path) -> None:
    """Create a folder in one that exists."""
    with explained(str(path)):
        path.mkdir(exist_ok=True)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it, rename it into place. Its mode follows the umask."""
    with explained(str(path)):
        temporary = _beside(path)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            mode = stat.S_IMODE(temporary.stat().st_mode)
            write(temporary)
            temporary.chmod(mode)  # `write` may have replaced the file by one that only its owner can read
            sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)


def write_folder_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary folder beside `path` with files, sync all of it, and rename it into place.

    The modes of the folder and its files follow the umask.
    """
    with explained(str(path)):
        temporary = _beside(path)
        temporary.mkdir()
        try:
            mode = stat.S_IMODE(temporary.stat().st_mode) & 0o666
            write(temporary)
            for file in temporary.iterdir():
                file.chmod(mode)
                sync(file)
            sync(temporary)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync(path.parent)


def _beside(path: Path) -> Path:
    """A new name in the same folder. The functions of `tempfile` would make a file that only its owner can read."""
    return path.parent / f"{TEMPORARY}{secrets.token_hex(6)}"


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, indented and ending in a newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def hindrance(error: Exception) -> str | None:
    """What hinders reading a file that is there, for example a missing permission; None if its content is wrong."""
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.EINVAL):
        return error.strerror
    return None


def must_be_file(path: Path) -> None:
    """OSError if there is no regular file at `path`: reading a pipe or a device would wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def checksum(content: Path | bytes) -> str:
    """The CRC-32 of a file or of bytes as text: it finds damage, not forgery."""
    value = 0
    if isinstance(content, bytes):
        value = zlib.crc32(content)
    else:
        with content.open("rb") as file:
            while chunk := file.read(_CHUNK):
                value = zlib.crc32(chunk, value)
    return f"crc32:{value:08x}"


_CHUNK = 1 << 20  # bytes


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files and folders that a killed process left behind."""
    for path in folder.glob(TEMPORARY + "*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file's contents, or a folder's entries, to the disk (fsync)."""
    if sys.platform == "win32" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
