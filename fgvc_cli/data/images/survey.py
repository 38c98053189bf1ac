"""One pass over many image files, in threads, whose findings are kept so that the next pass takes no time.

Findings lie in `images.sqlite` in fgvc's cache folder, under the file's path, size and time of change. Only findings of
sound images are kept: whatever is wrong with a file is looked at anew each time. A cache that cannot be read or
written costs time, nothing else.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fgvc_cli.data.catalog import cache_home
from fgvc_cli.data.images.read import ImageError
from fgvc_cli.machine.threads import cores

Progress = Callable[[str, int, int], object]  # what is going on, steps done, steps in all
Stamp = tuple[int, int]  # size in bytes, time of change in nanoseconds

KEPT_FROM = 500  # images: looking at fewer takes less than a second
_STEP, _STEPS_A_WRITE = 128, 16
_TABLE = (
    "CREATE TABLE IF NOT EXISTS findings"
    "(kind TEXT, root BLOB, file BLOB, size INTEGER, changed INTEGER, finding TEXT, PRIMARY KEY (kind, root, file))"
    " WITHOUT ROWID"
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
    """What `look` finds at each of the files (paths relative to root), or the ImageError it raises, in their order.

    `kind` names what is looked for: the key that findings are kept under, to be changed whenever `look` is. `anew`
    looks at each file, whatever was found before, and keeps nothing.
    """
    stamps = [stamp_of(root / file) for file in files]
    kept = _Kept(kind, root) if len(files) >= KEPT_FROM and not anew else None
    known = kept.read() if kept else {}
    found: list[str | ImageError | None] = [_known(known, *item) for item in zip(files, stamps, strict=True)]
    todo = [i for i, finding in enumerate(found) if finding is None]
    fresh: dict[str, tuple[Stamp, str]] = {}
    for step, part in _steps(todo, kind, progress if kept or anew else None):
        for i, finding in zip(part, _look_at(look, [root / files[i] for i in part]), strict=True):
            found[i], stamp = finding, stamps[i]
            if isinstance(finding, str) and stamp is not None:
                fresh[files[i]] = stamp, finding
        if kept and step % _STEPS_A_WRITE == 0:
            kept.write(fresh)
            fresh.clear()
    if kept and fresh:
        kept.write(fresh)
    return [finding for finding in found if finding is not None]


def stamp_of(path: Path) -> Stamp | None:
    """Size and time of change of a file; None where it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _known(known: dict[str, tuple[Stamp, str]], file: str, stamp: Stamp | None) -> str | None:
    then, finding = known.get(file, (None, ""))
    return finding if stamp is not None and then == stamp else None


def _steps(todo: list[int], kind: str, progress: Progress | None) -> Iterator[tuple[int, list[int]]]:
    """Parts of the work, counted from 1, reported before the first and after each."""
    parts = [todo[start : start + _STEP] for start in range(0, len(todo), _STEP)]
    for step, part in enumerate(parts, start=1):
        if progress and step == 1:
            progress(kind, 0, len(parts))
        yield step, part
        if progress:
            progress(kind, step, len(parts))


def _look_at(look: Callable[[Path], str], paths: list[Path]) -> list[str | ImageError]:
    """Each path's finding or error. Pillow's warnings about odd metadata are not for the user's eyes."""

    def attempt(path: Path) -> str | ImageError:
        try:
            return look(path)
        except ImageError as error:
            return error

    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, cores())) as pool:
        warnings.simplefilter("ignore")
        return list(pool.map(attempt, paths))


class _Kept:
    """The findings of one kind about the files of one folder."""

    def __init__(self, kind: str, root: Path) -> None:
        self.kind = kind
        self.root = os.fsencode(root.resolve())

    def read(self) -> dict[str, tuple[Stamp, str]]:
        """File → its stamp and finding; empty where there is no cache."""
        with contextlib.suppress(sqlite3.Error, OSError), self._connected() as connection:
            rows = connection.execute(
                "SELECT file, size, changed, finding FROM findings WHERE kind = ? AND root = ?", (self.kind, self.root)
            )
            return {os.fsdecode(file): ((size, changed), finding) for file, size, changed, finding in rows}
        return {}

    def write(self, findings: dict[str, tuple[Stamp, str]]) -> None:
        """Keep these, all or none; silently none where the cache cannot be written."""
        rows = [
            (self.kind, self.root, os.fsencode(file), *stamp, finding) for file, (stamp, finding) in findings.items()
        ]
        with contextlib.suppress(sqlite3.Error, OSError), self._connected() as connection:
            connection.executemany("INSERT OR REPLACE INTO findings VALUES (?, ?, ?, ?, ?, ?)", rows)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection, committed at the end. A file that is no database any more is removed."""
        file = cache_home() / "images.sqlite"
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file, timeout=5)
        try:
            connection.execute(_TABLE)
            yield connection
            connection.commit()
        except sqlite3.OperationalError:  # locked, full, not writable: the file itself is sound
            raise
        except sqlite3.DatabaseError:
            file.unlink(missing_ok=True)
            raise
        finally:
            connection.close()
