"""The images in a tar, found without unpacking it: shards in WebDataset's layout, which are tars of many small files.

A tar is a row of headers, each followed by a file's bytes. All headers are read once; afterwards every image is read
from its place by itself, by any process and in any order. A damaged part costs what is in it and no more: the list goes
on at the next header that is whole.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fgvc_cli.data.download.extract import LARGEST_READ, PLAIN_TYPES, Bounded
from fgvc_cli.data.images.names import has_image_ending, is_passed_over
from fgvc_cli.data.images.read import Part
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import open_regular

TAR_ENDING = ".tar"
_PACKED = re.compile(r"\.(tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz)$", re.IGNORECASE)
_PACKED_STARTS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_BLOCK = tarfile.BLOCKSIZE
_WINDOW = 1 << 20  # bytes
_MAGIC = slice(257, 262)  # of a header's block
_NO_FILE = "is a link, device or pipe in the tar, not a file"
_CUT_OFF = "is cut off: the tar ends before it does, or its header is damaged"


@dataclass(frozen=True, slots=True)
class Entry:
    """An image in a tar, or something that is wrong with the tar."""

    name: str  # of the image in the tar; empty: it is about the tar itself
    part: Part  # where the image is, or what is wrong


def is_tar(path: Path) -> bool:
    """Whether a file is taken for a tar, by its name. BadRequest if it is a compressed one."""
    name = path.name.lower()
    packed = bool(_PACKED.search(name))
    if not packed and name.endswith(TAR_ENDING) and path.is_file():
        with open_regular(path) as stream:
            packed = stream.read(6).startswith(_PACKED_STARTS)
    if packed:
        raise BadRequest(f"{path}: is a compressed tar, whose images cannot be read one by one: decompress it first")
    return name.endswith(TAR_ENDING)


def list_tar(path: Path) -> Iterator[Entry]:
    """The images in a tar, in order, and whatever is damaged. OSError if it cannot be read at all.

    Hidden and system files and everything that is no image by its name are passed over, as in folders.
    """
    with open_regular(path) as raw:
        end = os.fstat(raw.fileno()).st_size
        start: int | None = 0
        while start is not None:
            start = yield from _stretch(path, raw, start, end)


def _stretch(path: Path, raw: IO[bytes], start: int, end: int) -> Generator[Entry, None, int | None]:
    """The images from `start` up to the tar's end or to damage. Returns where the next sound header is, if any."""
    here = start  # of the header that is read
    try:
        raw.seek(start)
        with tarfile.TarFile(fileobj=Bounded(raw, LARGEST_READ)) as tar:  # type: ignore[arg-type]
            while (member := tar.next()) is not None:
                vars(tar)["members"].clear()  # tarfile stores every header
                if member.size < 0 or member.offset_data + member.size > end or tar.offset <= here:
                    found = [*_image(member.name, Part(path, wrong=_CUT_OFF))]
                    yield from found or [Entry("", Part(path, wrong=_damaged(here)))]
                    return _next_header(raw, member.offset_data - _BLOCK)[0]
                here = tar.offset
                plain = member.type in PLAIN_TYPES and not member.issparse()
                part = Part(path, member.offset_data, member.size) if plain else Part(path, wrong=_NO_FILE)
                yield from () if member.isdir() else _image(member.name, part)
            here = tar.offset
    except Exception:  # tarfile raises errors of many kinds for damaged headers, RecursionError among them
        pass
    wrong, following = _after(raw, here, end)
    yield from [Entry("", Part(path, wrong=wrong))] if wrong else []
    return following


def _image(name: str, part: Part) -> Iterator[Entry]:
    parts = [piece for piece in name.split("/") if piece not in ("", ".", "..")]
    if has_image_ending(name) and not any(map(is_passed_over, parts)):
        yield Entry(name.removeprefix("./"), part)


def _after(raw: IO[bytes], here: int, end: int) -> tuple[str, int | None]:
    """What is wrong where no header is sound, and the place of the next one, if any."""
    raw.seek(here)
    block = raw.read(_BLOCK)
    following, empty = _next_header(raw, here)
    if block != bytes(_BLOCK):
        return f"is cut off after {end} bytes" if here + len(block) >= end else _damaged(here), following
    # Zeros alone up to a header are the end of one tar and the start of another.
    return "" if empty or following is None else _damaged(here), following


def _damaged(place: int) -> str:
    return f"is damaged at byte {place}: what was there is lost"


def _next_header(raw: IO[bytes], start: int) -> tuple[int | None, bool]:
    """The place of the first sound header after the block at `start`, and whether nothing but zeros comes before it."""
    place, empty = start + _BLOCK, True
    while True:
        raw.seek(place)
        window = raw.read(_WINDOW)
        for shift in range(0, len(window) - _BLOCK + 1, _BLOCK):
            block = window[shift : shift + _BLOCK]
            if block[_MAGIC] == b"ustar" and _is_header(block):
                return place + shift, empty
            empty = empty and not block.strip(b"\0")
        if len(window) < _WINDOW:
            return None, empty
        place += _WINDOW


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True
