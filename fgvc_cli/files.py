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
from contextlib import contextmanager, suppress
from functools import cache
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
    """Let `write` fill a temporary file, sync it, rename it into place. Its mode follows the umask."""
    with explained(str(path)):
        with temporary_folder(path.parent) as folder:
            temporary = folder / path.name
            temporary.touch()
            mode = stat.S_IMODE(temporary.stat().st_mode)
            write(temporary)
            temporary.chmod(mode)  # `write` may have replaced the file by one that only its owner can read
            sync(temporary)
            temporary.replace(path)
        sync(path.parent)


def write_folder_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary folder beside `path` with files, sync all of it, and rename it into place.

    The modes of the folder and its files follow the umask.
    """
    with explained(str(path)):
        with temporary_folder(path.parent) as folder:
            mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
            write(folder)
            for file in folder.iterdir():
                file.chmod(mode)
                sync(file)
            sync(folder)
            folder.rename(path)
        sync(path.parent)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A new locked folder in `parent`, removed at the end unless it was renamed. Its mode follows the umask.

    What killed processes left in `parent` is removed when this process first writes there.
    """
    _remove_leftovers_once(parent.resolve())
    lock, folder = _claim(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _claim(parent: Path) -> tuple[int | None, Path]:
    """A new temporary folder and its lock, which the system releases when this process ends."""
    while True:
        folder = parent / f"{TEMPORARY}{secrets.token_hex(6)}"
        folder.mkdir()
        try:
            lock = _lock(folder)
        except BlockingIOError:  # another process removes it as a leftover
            continue
        if folder.is_dir():  # else it did so before the folder was locked
            return lock, folder
        if lock is not None:
            os.close(lock)


def _lock(path: Path) -> int | None:
    """Lock a file or folder. None if it is gone, or if the system has no such locks.

    BlockingIOError if a process holds the lock.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return handle


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
    """Delete the temporary files and folders of processes that have ended: those that can be locked."""
    for path in folder.glob(TEMPORARY + "*"):
        with suppress(OSError):  # BlockingIOError: its process is alive
            lock = _lock(path)
            if lock is not None:
                _remove(path)
                os.close(lock)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@cache
def _remove_leftovers_once(folder: Path) -> None:
    remove_leftovers(folder)


def sync(path: Path) -> None:
    """Flush a file's contents, or a folder's entries, to the disk (fsync)."""
    if sys.platform == "win32" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
