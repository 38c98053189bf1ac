"""Install a dataset: get its archives, unpack them beside the final folder, verify, and rename into place.

All unfinished files are in `.fgvc-download/NAME` under the data folder, on the same disk. The dataset's own folder
appears by one rename, with the marker of a finished installation in it. One process at a time works on a dataset.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fgvc_cli.data.catalog import data_roots
from fgvc_cli.data.download.archives import BUNDLES, Archive, Bundle, Way
from fgvc_cli.data.download.checksums import difference
from fgvc_cli.data.download.extract import Limits
from fgvc_cli.data.download.progress import SILENT, Progress, amount
from fgvc_cli.data.download.state import Here, look, seal
from fgvc_cli.data.download.transfer import PATIENCE, Patience, fetch
from fgvc_cli.data.download.unpack import unpack
from fgvc_cli.data.facts import CATALOG
from fgvc_cli.errors import BadRequest, FgvcError

_WORK = ".fgvc-download"
_UNPACKED = 1.1  # times an archive's size: photographs hardly compress further
_NAMED = 3  # problems that a message names

_FILES_AN_IMAGE, _MORE_FILES = 4, 20_000  # photo, mask, boxes, another system's copy; lists and folders
_AT_MOST, _MORE_BYTES = 4, 1 << 30  # times the archives' size: photographs hardly compress, lists do
_IMAGE_BYTES = 1 << 20  # of an image, where the archives' sizes are not known


@dataclass(frozen=True)
class Request:
    """What to install, and where. `given`: files or folders that the user has already."""

    name: str
    root: Path | None = None  # as `data_roots` reads it
    given: tuple[Path, ...] = ()
    offline: bool = False
    mini: bool = False

    @property
    def bundle(self) -> Bundle:
        """The dataset's archives."""
        return BUNDLES[self.name]

    @property
    def place(self) -> Path:
        """The folder of all datasets."""
        return data_roots(self.root)[0]

    @property
    def work(self) -> Path:
        """The folder of this dataset's unfinished files."""
        return self.place / _WORK / self.name

    @property
    def target(self) -> Path:
        """The dataset's own folder, once it is complete."""
        return self.place / (self.bundle.folder or CATALOG[self.name].folders[0])

    @property
    def way(self) -> Way:
        """The archives to download if none are given."""
        return self.bundle.mini if self.mini and self.bundle.mini else self.bundle.ways[0]


def by_hand(way: Way) -> tuple[Archive, ...]:
    """The archives that have no address."""
    return tuple(archive for archive in way.archives if not archive.urls)


def fetched(request: Request) -> int:
    """Bytes of this dataset that an unfinished download has stored."""
    return sum(path.stat().st_size for path in request.work.glob("*") if path.is_file())


def install(request: Request, progress: Progress = SILENT, patience: Patience = PATIENCE) -> Here:
    """The dataset's state, as found installed or as installed now.

    FgvcError or BadRequest, one line that says what to do. The dataset's folder appears only once all of it is
    unpacked and verified; after a failure, downloaded bytes are kept for the next run.
    """
    here = look(request.name, request.root)
    if here is not None:
        return _as_found(request, here, progress)
    _check_given(request)
    with _locked(request, progress):
        here = look(request.name, request.root)  # another process may have installed it
        if here is not None:
            return _as_found(request, here, progress)
        if request.target.exists():
            raise BadRequest(
                f"{request.target}: exists, but is not {CATALOG[request.name].title}; move it away, or choose "
                "another place with --root"
            )
        staging = request.work / "staging"
        shutil.rmtree(staging, ignore_errors=True)  # left by a process that was killed
        try:
            home = staging / request.target.name
            way, proven = _fill(request, home, progress, patience)
            full, notes = _check_unpacked(request, home, way, proven, progress)
            seal(home, request.name, full, notes, progress)
            if hasattr(os, "sync"):
                os.sync()  # so that the files are on the disk before the marker is
            home.rename(request.target)
        except OSError as error:
            raise FgvcError(f"{request.place}: {error.strerror or error}; choose another place with --root") from None
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(request.work, ignore_errors=True)
    return Here(request.target, full, "; ".join(notes))


@contextmanager
def _locked(request: Request, progress: Progress) -> Iterator[None]:
    """Hold the dataset's lock; while another process has it, wait and say so."""
    lock = FileLock(request.work.with_suffix(".lock"))
    try:
        request.work.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.say(f"another fgvc process is installing {request.name}; waiting for it to finish")
            lock.acquire()
    except OSError as error:
        raise FgvcError(
            f"{request.place}: cannot be written to ({error.strerror or error}); choose another place with --root"
        ) from None
    try:
        request.work.mkdir(parents=True, exist_ok=True)  # the other process may have removed it
        yield
    finally:
        with suppress(OSError):
            request.work.rmdir()  # unless something is kept there
        lock.release()


def _as_found(request: Request, here: Here, progress: Progress) -> Here:
    if here.whole:
        if request.given:
            progress.say(f"{request.name} is installed already, so the given files are not used")
        return here
    raise BadRequest(
        f"{here.folder}: holds {request.name} already, but not all of it: {here.note}. You can train on what is "
        f"there (`fgvc download-data {request.name} --verify` tells more); to get the full set, move that folder away "
        "or choose another place with --root"
    )


def _fill(request: Request, home: Path, progress: Progress, patience: Patience) -> tuple[Way, bool]:
    """Unpack all archives into `home`. Returns the way that they make up, and whether checksums prove them."""
    proven = _take_given(request, home, progress)
    way = _nearest(request, home)
    missing = [archive for archive in way.archives if not _has(home, archive)]
    if request.given:
        missing = [archive for archive in missing if not archive.optional]
    _must_be_fetchable(request, missing)
    _must_fit(request, missing)
    files = [file for archive in missing if (file := _fetched(request, archive, progress, patience))]
    for file in files:
        unpack(file, home, request.bundle.contents, progress, limits_of(request.name))
    return way, proven


def _check_given(request: Request) -> None:
    """BadRequest for a file or folder that is not there, before anything is made."""
    for source in request.given:
        try:
            source.stat()
        except FileNotFoundError:
            raise BadRequest(f"{source}: does not exist; --from-archive names a file or folder") from None
        except OSError as error:
            raise BadRequest(f"--from-archive {source}: {error.strerror}") from None


def _take_given(request: Request, home: Path, progress: Progress) -> bool:
    """Unpack the given files. Returns whether each of them has its known checksum."""
    known = {archive.file: archive for way in _ways(request.bundle) for archive in way.archives}
    proven = True
    for source in request.given:
        archive = known.get(source.name) if source.is_file() else None
        wrong = difference(source, archive, progress) if archive and (archive.md5 or archive.sha256) else "unknown"
        if wrong is not None:
            proven = False
            told = "has no official checksum" if wrong == "unknown" else f"is not the official file ({wrong})"
            progress.say(f"{source}: {told}, so every image in it will be decoded")
        unpack(source, home, request.bundle.contents, progress, limits_of(request.name))
    return proven


def limits_of(name: str) -> Limits:
    """What an archive of a dataset may hold: several times what the dataset is known to hold."""
    bundle, facts = BUNDLES[name], CATALOG[name]
    images = (facts.train or 0) + (facts.test or 0)
    size = max(way.size for way in bundle.ways)
    return Limits(
        members=_FILES_AN_IMAGE * images + _MORE_FILES,
        total=(_AT_MOST * size or _IMAGE_BYTES * images) + _MORE_BYTES,
        single=bundle.largest,
    )


def _ways(bundle: Bundle) -> Sequence[Way]:
    return (*bundle.ways, *((bundle.mini,) if bundle.mini else ()))


def _nearest(request: Request, home: Path) -> Way:
    """The way with the most archives among the given files."""
    if not request.given:
        return request.way
    order = (request.way, *(way for way in _ways(request.bundle) if way is not request.way))
    return max(order, key=lambda way: sum(_has(home, archive) for archive in way.archives))


def _has(home: Path, archive: Archive) -> bool:
    return any((home / path).exists() for path in archive.holds)


def _must_be_fetchable(request: Request, missing: Sequence[Archive]) -> None:
    """BadRequest for archives without an address, or if --offline forbids the download."""
    lost = [archive.file for archive in missing if not archive.urls]
    if lost:
        raise BadRequest(
            f"{request.name}: {' and '.join(lost)} cannot be downloaded, only got by hand: "
            f"`fgvc download-data {request.name}` says where; give all files in one command, each with --from-archive"
        )
    absent = [archive for archive in missing if not archive.optional and not (request.work / archive.file).exists()]
    if request.offline and absent:
        raise BadRequest(
            f"{request.name}: {', '.join(archive.file for archive in absent)} must be fetched, but --offline is set; "
            f"get them elsewhere ({' '.join(archive.urls[0] for archive in absent)}) and pass each with --from-archive"
        )


def _must_fit(request: Request, missing: Sequence[Archive]) -> None:
    """FgvcError if the disk lacks space for the archives not yet downloaded and for the unpacked files."""
    size = sum(archive.size for archive in missing)
    need = int(size * (1 + _UNPACKED)) - min(fetched(request), size)
    free = shutil.disk_usage(request.work).free
    if need > free:
        raise FgvcError(
            f"{request.name} needs about {amount(need)} in {request.place} (archives and unpacked files), "
            f"but only {amount(free)} are free; free some space, or choose another disk with --root"
        )


def _fetched(request: Request, archive: Archive, progress: Progress, patience: Patience) -> Path | None:
    """The archive's file; None for an optional one that cannot be downloaded."""
    here = request.work / archive.file
    if request.offline and not here.exists():
        return None
    try:
        return fetch(archive, request.work, progress, patience)
    except FgvcError as error:
        if not archive.optional:
            raise
        progress.say(f"left out, since the dataset is complete without it: {error}")
        return None


def _check_unpacked(
    request: Request, home: Path, way: Way, proven: bool, progress: Progress
) -> tuple[bool, tuple[str, ...]]:
    """Whether the unpacked dataset is the full one, and how it differs. FgvcError if it is damaged.

    All images are decoded unless checksums prove them. If files were given, an undamaged part is accepted too.
    """
    from fgvc_cli.data.download.verify import verify  # imported here, since it imports PyTorch

    progress.say(f"{request.name}: reading its lists")
    found = verify(request.name, home, train=way.train, decode=not proven, progress=progress)
    if found.problems:
        more = f"; and {len(found.problems) - _NAMED} more" if len(found.problems) > _NAMED else ""
        named = "; ".join(problem.replace(f"{home}/", "") for problem in found.problems[:_NAMED])
        raise FgvcError(f"{request.name} is damaged, so it was not installed: {named}{more}; get the archives again")
    for doubt in found.doubts[:_NAMED]:
        progress.say(doubt.replace(f"{home}/", ""))
    if not found.full and not request.given:
        raise FgvcError(
            f"{request.name}: unpacked completely, but not the known set ({'; '.join(found.notes)}); "
            "its archives have changed: please report this"
        )
    return found.full, () if found.full else found.notes
