"""One file from the network: resumed across runs, retried, checked, and only then called by its name.

What has arrived lies in `NAME.part`, always the file's first bytes; `NAME.part.json` keeps the address and the
server's tag for that version of the file. The next run asks for the missing bytes alone (Range, with If-Range where the
address is the same): 206 goes on, 200 starts over, 416 leaves it to the checksum. `NAME` itself appears by a rename,
after size and checksum were right.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import urllib3

from fgvc_cli.data.download.archives import Archive
from fgvc_cli.data.download.checksums import difference
from fgvc_cli.data.download.http import GivenUp, TryAgain, body, host_of, open_url, what_failed
from fgvc_cli.data.download.progress import SILENT, Progress, amount
from fgvc_cli.errors import FgvcError


@dataclass(frozen=True)
class Patience:
    """How long a silent, slow or failing server is borne with. Seconds, bytes."""

    connect: float = 20
    read: float = 30  # without a single byte
    slow: float = 60  # in which at least `least` bytes must come
    least: int = 1 << 16
    attempts: int = 6  # in a row that bring less than `least` bytes
    pause: float = 1  # before the second attempt; twice as long before each further one
    longest: float = 60  # pause


PATIENCE = Patience()


def fetch(archive: Archive, folder: Path, progress: Progress = SILENT, patience: Patience = PATIENCE) -> Path:
    """The archive as a file in `folder`, from the first of its addresses that serves the known bytes.

    FgvcError, which says what each address answered and what to do. What has arrived by then is kept for the next run.
    """
    target = folder / archive.file
    if target.exists():
        if wrong := difference(target, archive, progress):
            raise FgvcError(f"{target}: {wrong}; delete it and run the same command again")
        return target
    part = _Part(target)
    refusals = []
    for url in archive.urls:
        try:
            _from_address(url, archive, part, progress, patience)
            part.finish(target)
            return target
        except GivenUp as refusal:
            refusals.append(f"{host_of(url)} {refusal}")
            progress.say(f"{archive.file}: {refusals[-1]}")
        except OSError as error:
            raise FgvcError(_no_room(part, error)) from None
    raise FgvcError(
        f"{archive.file} could not be fetched: {'; '.join(refusals)}. Run the same command again later"
        f"{' (it goes on where it stopped)' if part.size else ''}, or get {archive.urls[0]} by other means "
        "and pass the file with --from-archive"
    )


class _Part:
    """The file as far as it has arrived, and which version of it that is."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def tag(self, url: str) -> str:
        """The server's tag of the version that has begun to arrive from this address; empty if unknown."""
        try:
            known = json.loads(self.note.read_text(encoding="utf-8"))
            return str(known["tag"]) if known["url"] == url else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def start(self, url: str = "", tag: str = "") -> None:
        """Begin anew, with nothing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        self.note.write_text(json.dumps({"url": url, "tag": tag}), encoding="utf-8")

    def finish(self, target: Path) -> None:
        """Give the file its name, once the disk has all of it."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(target)
        self.note.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove what has arrived."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _from_address(url: str, archive: Archive, part: _Part, progress: Progress, patience: Patience) -> None:
    """The whole, right file in `part`. GivenUp if this address does not serve it."""
    resumed = part.size > 0
    while True:
        _arrive(url, archive, part, progress, patience)
        wrong = difference(part.path, archive, progress)
        if wrong is None:
            return
        part.forget()
        if not resumed:
            raise GivenUp(f"serves another file than the known one: it {wrong}")
        progress.say(f"{archive.file}: what was there from before does not fit; starting over")
        resumed = False


def _arrive(url: str, archive: Archive, part: _Part, progress: Progress, patience: Patience) -> None:
    """All bytes the address has, in as many attempts as it takes. GivenUp after too many without progress."""
    failed = 0
    while True:
        before = part.size
        try:
            _attempt(url, archive, part, progress, patience)
            return
        except (urllib3.exceptions.HTTPError, TryAgain) as error:
            failed = 1 if part.size - before >= patience.least else failed + 1
            reason = what_failed(error)
            if failed >= patience.attempts:
                raise GivenUp(f"{reason}, {failed} times in a row") from None
            pause = min(patience.longest, max(patience.pause * 2 ** (failed - 1), getattr(error, "wait", 0)))
            progress.say(
                f"{archive.file}: {host_of(url)} {reason}; trying again in {pause:.0f} s ({amount(part.size)} are here)"
            )
            time.sleep(pause)


def _attempt(url: str, archive: Archive, part: _Part, progress: Progress, patience: Patience) -> None:
    """One connection: asks for what is missing and appends what comes. Done if it returns."""
    have = part.size
    if archive.bytes is not None and have >= archive.bytes:
        if have == archive.bytes:
            return
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and (tag := part.tag(url)):
        headers["If-Range"] = tag
    with open_url(url, headers, (patience.connect, patience.read)) as answer:
        total = _accept(answer, url, archive, part, have)
        if total == part.size:
            return
        _append(answer, archive, part, total, progress, patience)


def _accept(answer: urllib3.BaseHTTPResponse, url: str, archive: Archive, part: _Part, have: int) -> int | None:
    """The number of bytes of the whole file by this answer, None if it does not tell. Makes `part` ready for it."""
    if answer.status == 416 and have:
        return have  # it has no byte after those that are here: the checksum decides
    if answer.status == 206 and have:
        first, total = _content_range(answer)
        if first != have:
            part.start()
            raise TryAgain("sent another part than was asked for")
    else:
        total = _length(answer)
    if archive.bytes is not None and total not in (None, archive.bytes):
        raise GivenUp(f"announces {total:,} bytes instead of {archive.bytes:,}: another file")
    if answer.status != 206 or not have:
        part.start(url, _tag(answer))
    return total


def _content_range(answer: urllib3.BaseHTTPResponse) -> tuple[int | None, int | None]:
    """First byte and length of the whole by `bytes FIRST-LAST/WHOLE`."""
    part, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    first, _, _ = part.partition("-")
    return (int(first) if first.isdecimal() else None, int(total) if total.isdecimal() else None)


def _length(answer: urllib3.BaseHTTPResponse) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _tag(answer: urllib3.BaseHTTPResponse) -> str:
    """What If-Range may hold: a strong entity tag, else the time of the last change."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _append(
    answer: urllib3.BaseHTTPResponse,
    archive: Archive,
    part: _Part,
    total: int | None,
    progress: Progress,
    patience: Patience,
) -> None:
    """Write what comes until the connection ends. TryAgain if that is too early or too slow."""
    done, limit = part.size, total if total is not None else archive.bytes
    steady = _steady(patience)
    with part.path.open("ab") as file:  # buffered: a raw file writes less than all of it without a word
        for chunk in body(answer):
            file.write(chunk)
            done += len(chunk)
            progress.advance(f"fetching {archive.file}", done, limit)
            steady(len(chunk))
            if limit is not None and done > limit:
                part.forget()
                raise GivenUp(f"sends more than {limit:,} bytes: another file")
    if limit is not None and done < limit:
        raise TryAgain(f"ended the connection after {done:,} of {limit:,} bytes")


def _steady(patience: Patience) -> Callable[[int], None]:
    """A function that hears of every chunk and raises TryAgain where too few bytes came for too long."""
    since, came = time.monotonic(), 0

    def hear(count: int) -> None:
        nonlocal since, came
        came += count
        now = time.monotonic()
        if now - since >= patience.slow:
            if came < patience.least:
                raise TryAgain(f"sent only {came:,} bytes in {now - since:.0f} s")
            since, came = now, 0

    return hear


def _no_room(part: _Part, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{part.path.parent}: the disk is full after {amount(part.size)}; free some space and run the same command "
            "again (it goes on where it stopped), or choose another disk with --root"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{part.path.parent}: is not writable; choose another folder with --root"
    return f"{part.path}: cannot be written ({error.strerror or error}); choose another folder with --root"
