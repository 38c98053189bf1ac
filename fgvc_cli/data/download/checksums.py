"""Compare a file with its known size and checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fgvc_cli.data.download.archives import Archive
from fgvc_cli.data.download.progress import Progress
from fgvc_cli.files import open_regular

_CHUNK = 1 << 20


def digest(path: Path, kind: str, progress: Progress) -> str:
    """The file's checksum in hexadecimal digits; `kind`: the algorithm's name in hashlib."""
    made = hashlib.new(kind, usedforsecurity=False)
    total, done = path.stat().st_size, 0
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            made.update(chunk)
            done += len(chunk)
            progress.advance(f"checking {path.name.removesuffix('.part')}", done, total)
    return made.hexdigest()


def difference(path: Path, archive: Archive, progress: Progress) -> str | None:
    """How the file differs from the archive's known size and checksum; None if it does not. SHA-256 goes before MD5."""
    size = path.stat().st_size
    if archive.bytes is not None and size != archive.bytes:
        return f"has {size:,} bytes instead of {archive.bytes:,}"
    kind, known = ("sha256", archive.sha256) if archive.sha256 else ("md5", archive.md5)
    if not known:
        return None
    found = digest(path, kind, progress)
    return None if found == known else f"has the {kind} {found} instead of {known}"
