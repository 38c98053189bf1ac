"""Download one file: resumed across runs, retried, checked, and only then renamed to its final name.

`NAME.part` holds the bytes received so far, always the file's first ones; `NAME.part.json` holds the address and the
server's tag for that version of the file. The next run requests only the missing bytes (Range, with If-Range if the
address is the same): 206 continues, 200 starts over, and after 416 the checksum decides. `NAME` appears by a rename
once size and checksum are right.
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
from fgvc_cli.files import read_text
from fgvc_cli.values import parse


@dataclass(frozen=True)
class Patience:
    """Limits for a silent, slow or failing server, in seconds and bytes."""

    connect: float = 20
    read: float = 30  # without a single byte
    slow: float = 60  # time in which at least `least` bytes must arrive
    least: int = 1 << 16
    attempts: int = 6  # this many in a row with fewer than `least` new bytes each end the download
    pause: float = 1  # before the second attempt; twice as long before each further one
    longest: float = 60  # upper bound of the pause


PATIENCE = Patience()


def fetch(archive: Archive, folder: Path, progress: Progress = SILENT, patience: Patience = PATIENCE) -> Path:
    """Download the archive into `folder`, from the first address that serves the known bytes; returns the file.

    FgvcError says what each address answered and what to do. Bytes received until then are kept for the next run.
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
    """The part of the file received so far, and the version of the file it belongs to."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def tag(self, url: str) -> str:
        """The server's tag of the version received from this address; empty if unknown."""
        try:
            known = parse(read_text(self.note))
            return str(known["tag"]) if known["url"] == url else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def start(self, url: str = "", tag: str = "") -> None:
        """Start over with an empty file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        self.note.write_text(json.dumps({"url": url, "tag": tag}), encoding="utf-8")

    def finish(self, target: Path) -> None:
        """Rename the file to `target`, once all of it is on the disk."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(target)
        self.note.unlink(missing_ok=True)

    def forget(self) -> None:
        """Delete the bytes received so far."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _from_address(url: str, archive: Archive, part: _Part, progress: Progress, patience: Patience) -> None:
    """Download the complete, correct file into `part`. GivenUp if this address does not serve it."""
    resumed = part.size > 0
    while True:
        _receive(url, archive, part, progress, patience)
        wrong = difference(part.path, archive, progress)
        if wrong is None:
            return
        part.forget()
        if not resumed:
            raise GivenUp(f"serves another file than the known one: it {wrong}")
        progress.say(f"{archive.file}: the bytes from an earlier run do not belong to this file; starting over")
        resumed = False


def _receive(url: str, archive: Archive, part: _Part, progress: Progress, patience: Patience) -> None:
    """Receive all bytes that the address has, with retries. GivenUp after too many attempts without progress."""
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
                f"{archive.file}: {host_of(url)} {reason}; trying again in {pause:.0f} s ({amount(part.size)} received)"
            )
            time.sleep(pause)


def _attempt(url: str, archive: Archive, part: _Part, progress: Progress, patience: Patience) -> None:
    """One connection: request the missing bytes and append them. If this returns, all bytes are there."""
    have = part.size
    if archive.bytes is not None and have >= archive.bytes:
        if have == archive.bytes:
            return
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and (tag := part.tag(url)):
        headers["If-Range"] = tag
    with open_url(url, headers, (patience.connect, patience.read)) as response:
        total = _accept(response, url, archive, part, have)
        if total == part.size:
            return
        _append(response, archive, part, total, progress, patience)


def _accept(response: urllib3.BaseHTTPResponse, url: str, archive: Archive, part: _Part, have: int) -> int | None:
    """The size of the whole file in bytes, None if the response does not tell. Prepares `part` for the body."""
    if response.status == 416 and have:
        return have  # the server has no further bytes: the checksum decides
    if response.status == 206 and have:
        first, total = _content_range(response)
        if first != have:
            part.start()
            raise TryAgain("sent another range than requested")
    else:
        total = _length(response)
    if archive.bytes is not None and total not in (None, archive.bytes):
        raise GivenUp(f"announces {total:,} bytes instead of {archive.bytes:,}: another file")
    if response.status != 206 or not have:
        part.start(url, _tag(response))
    return total


def _content_range(response: urllib3.BaseHTTPResponse) -> tuple[int | None, int | None]:
    """First byte and size of the whole file, from `bytes FIRST-LAST/SIZE`; None if unknown."""
    part, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    first, _, _ = part.partition("-")
    return (int(first) if first.isdecimal() else None, int(total) if total.isdecimal() else None)


def _length(response: urllib3.BaseHTTPResponse) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _tag(response: urllib3.BaseHTTPResponse) -> str:
    """A value for If-Range: a strong entity tag, else the time of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _append(
    response: urllib3.BaseHTTPResponse,
    archive: Archive,
    part: _Part,
    total: int | None,
    progress: Progress,
    patience: Patience,
) -> None:
    """Write the body until the connection ends. TryAgain if it ends too early or is too slow."""
    done, limit = part.size, total if total is not None else archive.bytes
    check_speed = _speed_check(patience)
    with part.path.open("ab") as file:  # buffered: an unbuffered write may store fewer bytes without an error
        for chunk in body(response):
            file.write(chunk)
            done += len(chunk)
            progress.advance(f"fetching {archive.file}", done, limit)
            check_speed(len(chunk))
            if limit is not None and done > limit:
                part.forget()
                raise GivenUp(f"sends more than {limit:,} bytes: another file")
    if limit is not None and done < limit:
        raise TryAgain(f"ended the connection after {done:,} of {limit:,} bytes")


def _speed_check(patience: Patience) -> Callable[[int], None]:
    """A function that takes each chunk's size and raises TryAgain if too few bytes arrive for too long."""
    since, received = time.monotonic(), 0

    def count_bytes(count: int) -> None:
        nonlocal since, received
        received += count
        now = time.monotonic()
        if now - since >= patience.slow:
            if received < patience.least:
                raise TryAgain(f"sent only {received:,} bytes in {now - since:.0f} s")
            since, received = now, 0

    return count_bytes


def _no_room(part: _Part, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{part.path.parent}: the disk is full after {amount(part.size)}; free some space and run the same command "
            "again (it goes on where it stopped), or choose another disk with --root"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{part.path.parent}: is not writable; choose another folder with --root"
    return f"{part.path}: cannot be written ({error.strerror or error}); choose another folder with --root"
