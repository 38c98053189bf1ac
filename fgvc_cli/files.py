"""Files are opened for reading only if they are regular files, and written atomically.

After a crash, a file that was being written is either the old one or the complete new one.
"""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import shutil
import stat
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from fgvc_cli.errors import FgvcError

TEMPORARY = ".writing-"
_KINDS = {
    stat.S_IFDIR: (errno.EISDIR, "it is a folder"),
    stat.S_IFIFO: (errno.EINVAL, "it is a named pipe, not a regular file"),
    stat.S_IFSOCK: (errno.EINVAL, "it is a socket, not a regular file"),
}
_DEVICE = (errno.EINVAL, "it is a device, not a regular file")
_FLAGS = ("O_RDONLY", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")  # those that this system has
_WITHOUT_WAITING = sum(getattr(os, name, 0) for name in _FLAGS)


def must_be_file(path: str | os.PathLike[str]) -> None:
    """OSError that says what is at `path` if it is no regular file.

    Reading a pipe or a device may wait for ever. Call this before a library opens a file by its path; else use
    `open_regular`.
    """
    try:
        status = Path(path).stat()
    except ValueError:  # a NUL or half of a surrogate pair
        raise OSError(errno.EINVAL, "no file can have this name") from None
    _must_be_regular(status.st_mode)


def _must_be_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(*_KINDS.get(stat.S_IFMT(mode), _DEVICE))


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a file that a user named, to read its bytes. OSError if it cannot be opened or is no regular file.

    This is the only way to open such a file: it never waits. What is not a regular file is not even opened, since
    that alone may have an effect on a device.
    """
    must_be_file(path)
    handle = os.open(path, _WITHOUT_WAITING)
    try:
        _must_be_regular(os.fstat(handle).st_mode)  # it may have been replaced since
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_text(
    path: str | os.PathLike[str], encoding: str = "utf-8", errors: str = "strict", newline: str | None = None
) -> str:
    """The text of a regular file. OSError or UnicodeDecodeError if it cannot be read.

    Ends of lines become newlines; with `newline=""`, which the csv module needs, they stay as they are.
    """
    with io.TextIOWrapper(open_regular(path), encoding, errors, newline) as stream:
        return stream.read()


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
    """Let `write` fill a temporary folder beside `path` with files and folders, sync it, and rename it into place.

    The modes of the folder and its files follow the umask.
    """
    with explained(str(path)):
        with temporary_folder(path.parent) as folder:
            mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
            write(folder)
            for entry in folder.rglob("*"):
                if not entry.is_dir():
                    entry.chmod(mode)
                sync(entry)
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
    """Write a text file in UTF-8 atomically. File names that are not UTF-8 keep their bytes."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8", errors="surrogateescape"))


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON that UTF-8 can encode: in file names, bytes that are not UTF-8 become escapes (`\\udce9`)."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, indented and ending in a newline."""
    write_text(path, json_text(value, indent=2) + "\n")


def hindrance(error: Exception) -> str | None:
    """What hinders reading a file that is there, for example a missing permission; None if its content is wrong."""
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.EINVAL):
        return error.strerror
    return None


def checksum(content: Path | bytes) -> str:
    """The CRC-32 of a file or of bytes as text: it finds damage, not forgery."""
    value = 0
    if isinstance(content, bytes):
        value = zlib.crc32(content)
    else:
        with open_regular(content) as file:
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


def is_text(name: str) -> bool:
    """Whether a name can be encoded in UTF-8. That of a file cannot if it has bytes that are not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with its `~` or `~user` replaced. Without such a user it stays: a file may be called `~b.png`."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):  # no such user; a NUL in the name
        return Path(path)


def copy_folder(source: Path, into: Path) -> list[Path]:
    """Copy the bytes of all files in a folder and below it, without their permissions. Links are followed.

    Each folder is copied once, linked ones after the others, so links may form loops. Returns the links that were
    passed over because of that. OSError names a file that cannot be copied or is no regular file.
    """
    seen, passed = {os.path.realpath(into)}, list[Path]()  # `into` itself may lie in `source`
    folders, links = deque([Path()]), deque[Path]()
    while folders or links:
        linked = not folders
        place = links.popleft() if linked else folders.popleft()
        real = os.path.realpath(source / place)
        if real in seen:
            passed += [source / place] if linked else []
            continue
        seen.add(real)
        (into / place).mkdir(parents=True, exist_ok=True)
        for entry in sorted((source / place).iterdir()):
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(place / entry.name)
            else:
                _copy_bytes(entry, into / place / entry.name)
    return passed


def _copy_bytes(source: Path, target: Path) -> None:
    try:
        with open_regular(source) as original, target.open("xb") as copy:
            shutil.copyfileobj(original, copy, 1 << 20)
    except OSError as error:
        raise OSError(error.errno, f"{source}: {error.strerror}") from error


def sync(path: Path) -> None:
    """Flush a file's contents, or a folder's entries, to the disk (fsync)."""
    if sys.platform == "win32" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
