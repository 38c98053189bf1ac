"""Folders that one process fills and several processes share.

A folder is either complete or absent. A folder in shared memory is removed when no process uses it any more. The
process that holds KEY.lock fills the folder KEY.part, then renames it to KEY. The system releases the locks of a killed
process, and the next process removes the KEY.part that it left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import sync

_SHARED_MEMORY = Path("/dev/shm")
_PART = ".part"


def shared_memory() -> Path:
    """This user's folder in shared memory, or in the temporary folder if the system has no shared memory.

    BadRequest if the folder belongs to another user or cannot be made.
    """
    home = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())
    owner = os.getuid() if hasattr(os, "getuid") else 0
    folder = home / f"fgvc-{owner}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        theirs = hasattr(os, "getuid") and (folder.is_symlink() or folder.stat().st_uid != owner)
    except OSError as error:
        raise BadRequest(f"--cache ram: cannot use {folder} ({error.strerror}); use --cache disk") from None
    if theirs:
        raise BadRequest(f"--cache ram: {folder} belongs to another user; use --cache disk")
    return folder


def available_memory() -> int | None:
    """Bytes of memory that programs can still allocate; None if the system does not say."""
    table = Path("/proc/meminfo")
    found = re.search(r"MemAvailable: *(\d+) kB", table.read_text()) if table.exists() else None
    return int(found[1]) * 1024 if found else None


@contextlib.contextmanager
def alone_with(folder: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Inside this context no other process makes or removes the folder.

    `waiting` is called if another process is doing so now and this one must wait for it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def fill_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a new folder under another name, sync it and rename it. Call this inside `alone_with`."""
    part = folder.with_name(folder.name + _PART)
    for old in (part, folder):
        _clear(old)
    part.mkdir()
    try:
        write(part)
        for path in (*part.iterdir(), part):
            sync(path)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _clear(path: Path) -> None:
    """Remove a folder, or whatever damage put in its place."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def reserve(handle: int, size: int) -> None:
    """Allocate a file's disk space now, if the file system can, so that a full disk is noticed before any work."""
    if sys.platform == "linux":
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise


class Claim:
    """Says that this process uses a folder, until `release` or until the process ends.

    The last process that uses the folder removes it.
    """

    def __init__(self, folder: Path) -> None:
        self._end = weakref.finalize(self, _let_go, folder, _claim(folder), os.getpid())

    def release(self) -> None:
        """This process does not use the folder any more."""
        self._end()

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """A worker process gets None: it needs no claim, since its parent process outlives it."""
        return type(None), ()


def remove_abandoned(home: Path, but: Path, *, whole: bool) -> None:
    """Remove what killed processes left in `home`, except the folder `but`.

    These are incomplete folders and, with `whole`, complete folders that no process uses.
    """
    for folder in {path.with_name(path.name.removesuffix(_PART)) for path in home.iterdir() if path.is_dir()}:
        if folder != but:
            _remove(folder, whole=whole)


def _remove(folder: Path, *, whole: bool) -> None:
    with contextlib.suppress(Timeout, OSError), _lock(folder).acquire(timeout=0):
        shutil.rmtree(folder.with_name(folder.name + _PART), ignore_errors=True)
        if whole and _unclaimed(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_name(folder.name + ".lock"))


def _claim(folder: Path) -> int | None:
    if sys.platform == "win32":
        return None
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def _unclaimed(folder: Path) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _let_go(folder: Path, handle: int | None, owner: int) -> None:
    if os.getpid() != owner:  # called at the end of a forked worker process
        return
    if sys.platform != "win32" and handle is not None:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_UN)  # closing is not enough: worker processes have copies of the handle
        os.close(handle)
    _remove(folder, whole=True)
