"""One pass over many image files, in threads. The results are cached, so that the next pass takes no time.

Results are stored in `images.sqlite` in fgvc's cache folder, with the file's path, size and modification time as the
key. Only results of good images are stored: a bad file is examined again each time. A cache that cannot be read or
written costs time, nothing else: each row has a checksum, rows that are wrong are not used, and a file that is no such
database, or a damaged one, is removed.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fgvc_cli.data.catalog import cache_home
from fgvc_cli.data.images.read import ImageError
from fgvc_cli.files import must_be_file
from fgvc_cli.machine.threads import cores

Progress = Callable[[str, int, int], object]  # what is being done, steps done, steps in total
Stamp = tuple[int, int]  # size in bytes, modification time in nanoseconds

KEPT_FROM = 500  # number of images from which results are cached; fewer take less than a second
_STEP, _STEPS_A_WRITE = 128, 16
_TABLE = (
    "CREATE TABLE IF NOT EXISTS summed_findings"
    "(kind TEXT, root BLOB, file BLOB, size INTEGER, changed INTEGER, finding TEXT, sum INTEGER,"
    " PRIMARY KEY (kind, root, file)) WITHOUT ROWID"
)
_OLD_TABLE = "DROP TABLE IF EXISTS findings"  # that of versions which stored no checksums
_PASSING = frozenset(  # SQLite's errors that say nothing about the file's content
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)


def survey(
    kind: str,
    root: Path,
    files: Sequence[str],
    look: Callable[[Path], str],
    progress: Progress | None = None,
    *,
    anew: bool = False,
) -> list[str | ImageError]:
    """What `look` returns for each file, or the ImageError that it raises, in the files' order.

    Args:
        kind: names what is looked for. It is a part of the cache's key: change it whenever `look` changes.
        root: the folder.
        files: paths relative to root.
        look: called for each file that has no cached result.
        progress: called after each step.
        anew: examine each file, and neither read nor write the cache.
    """
    stamps = [stamp_of(root / file) for file in files]
    cache = _Cache(kind, root) if len(files) >= KEPT_FROM and not anew else None
    known = cache.read() if cache else {}
    found: list[str | ImageError | None] = [_known(known, *item) for item in zip(files, stamps, strict=True)]
    todo = [i for i, finding in enumerate(found) if finding is None]
    fresh: dict[str, tuple[Stamp, str]] = {}
    for step, part in _steps(todo, kind, progress if cache or anew else None):
        for i, finding in zip(part, _look_at(look, [root / files[i] for i in part]), strict=True):
            found[i], stamp = finding, stamps[i]
            if isinstance(finding, str) and stamp is not None:
                fresh[files[i]] = stamp, finding
        if cache and step % _STEPS_A_WRITE == 0:
            cache.write(fresh)
            fresh.clear()
    if cache and fresh:
        cache.write(fresh)
    return [finding for finding in found if finding is not None]


def stamp_of(path: Path) -> Stamp | None:
    """Size and modification time of a file; None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _known(known: dict[str, tuple[Stamp, str]], file: str, stamp: Stamp | None) -> str | None:
    then, finding = known.get(file, (None, ""))
    return finding if stamp is not None and then == stamp else None


def _steps(todo: list[int], kind: str, progress: Progress | None) -> Iterator[tuple[int, list[int]]]:
    """Parts of the work, numbered from 1. Progress is reported before the first part and after each part."""
    parts = [todo[start : start + _STEP] for start in range(0, len(todo), _STEP)]
    for step, part in enumerate(parts, start=1):
        if progress and step == 1:
            progress(kind, 0, len(parts))
        yield step, part
        if progress:
            progress(kind, step, len(parts))


def _look_at(look: Callable[[Path], str], paths: list[Path]) -> list[str | ImageError]:
    """Each path's finding or error."""

    def attempt(path: Path) -> str | ImageError:
        try:
            return look(path)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(min(8, cores())) as pool:
        return list(pool.map(attempt, paths))


class _Cache:
    """The cached findings of one kind about the files of one folder."""

    def __init__(self, kind: str, root: Path) -> None:
        self.kind = kind
        self.root = os.fsencode(root.resolve())
        self.checked = False

    def read(self) -> dict[str, tuple[Stamp, str]]:
        """File → its stamp and finding; empty if there is no cache."""
        with contextlib.suppress(sqlite3.Error, OSError), self._connected() as connection:
            rows = connection.execute(
                "SELECT file, size, changed, finding, sum FROM summed_findings WHERE kind = ? AND root = ?",
                (self.kind, self.root),
            )
            found, whole = {}, True
            for file, size, changed, finding, total in rows.fetchall():
                if isinstance(file, bytes) and total == self._sum(file, size, changed, finding):
                    found[os.fsdecode(file)] = ((size, changed), finding)
                else:
                    whole = False
            if not whole:
                self._check(connection)
            return found
        return {}

    def write(self, findings: dict[str, tuple[Stamp, str]]) -> None:
        """Store these findings, all or none. If the cache cannot be written, none are stored and no error is raised."""
        facts = [(os.fsencode(file), *stamp, finding) for file, (stamp, finding) in findings.items()]
        rows = [(self.kind, self.root, *fact, self._sum(*fact)) for fact in facts]
        # OverflowError: a modification time too late for SQLite
        with contextlib.suppress(sqlite3.Error, OSError, OverflowError), self._connected() as connection:
            if not self.checked:  # a damaged index would hide the new rows for ever
                self._check(connection)
            connection.executemany("INSERT OR REPLACE INTO summed_findings VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _check(self, connection: sqlite3.Connection) -> None:
        """DatabaseError if the file is damaged, and not only a row: then it is made anew."""
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError
        self.checked = True

    def _sum(self, *facts: object) -> int:
        """The checksum of a row."""
        return zlib.crc32(repr((self.kind, self.root, *facts)).encode("utf-8", "surrogatepass"))

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection, committed at the end. A file that is not a valid database is removed."""
        file = cache_home() / "images.sqlite"
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists():
            must_be_file(file)
        connection = sqlite3.connect(file, timeout=5)
        try:
            connection.execute(_OLD_TABLE)
            connection.execute(_TABLE)
            yield connection
            connection.commit()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF not in _PASSING:
                file.unlink(missing_ok=True)
            raise
        finally:
            connection.close()
