"""The sizes that decoders will take from a file's header, found before a decoder sees the file.

Some decoders allocate an image when they open the file (WebP, GIF), or read another header than Pillow does (JPEG, the
codestream in a JPEG 2000 file). For these formats the header is read here as the decoder itself reads it. The other
formats need nothing: Pillow reads their header and allocates nothing before the pixels are asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

Peek = Callable[[int, int], bytes]  # (offset, count) → at most count bytes of the file from there on
Size = tuple[int, int]  # width, height

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..15 hold the size; these three do not
_BARE_MARKERS = frozenset({0x00, 0x01, *range(0xD0, 0xD8)})  # that no length follows; 0: no marker, but data
_LAST_MARKERS = frozenset({0xD9, 0xDA})  # end of the image, start of the pixels: no size comes after these
_WINDOW = 4096  # bytes
_STEPS = 20_000  # parts of a header that are walked through; real files have some dozens
_COMPONENTS = 4  # of a JPEG 2000 image
_FEW_TILES, _TILE_PIXELS = 1024, 1024  # a JPEG 2000 decoder stores about 10 kB for each tile


def claimed_sizes(peek: Peek) -> Iterator[Size]:
    """Each size for which a decoder will allocate memory, besides the one that Pillow finds.

    ValueError for headers that can be read in two ways, or that make a decoder allocate far more than the pixels need.
    """
    head = peek(0, 30)
    if head.startswith(b"\xff\xd8\xff"):
        size = jpeg_size(peek)
        yield from (size,) if size else ()
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        size = webp_size(head)
        yield from (size,) if size else ()
    elif head.startswith((b"GIF87a", b"GIF89a")):
        yield from _gif_sizes(peek)
    elif head.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")):
        yield _jpeg2000_size(peek)


def jpeg_size(peek: Peek) -> Size | None:
    """The size in the first frame header, found as libjpeg finds it, bytes between segments included."""
    place = 2
    for _ in range(_STEPS):
        window = peek(place, _WINDOW)
        start = window.find(b"\xff")
        code = window[max(start, 0) :].lstrip(b"\xff")
        if start < 0 or not code:  # no marker here: search on, from the last 0xFF if there is one
            if len(window) < _WINDOW:
                return None
            place += len(window) - (start >= 0)
            continue
        marker = code[0]
        place += len(window) - len(code) + 1
        if marker in _BARE_MARKERS:
            continue
        segment = peek(place, 7)
        if marker in _LAST_MARKERS or len(segment) < 7:
            return None
        length, height, width = struct.unpack_from(">HxHH", segment)
        if marker in _FRAME_MARKERS:
            return width, height
        place += max(length, 2)
    raise ValueError("its header has too many parts")


def webp_size(head: bytes) -> Size | None:
    """The size of the canvas, from the first 30 bytes of a WebP file."""
    if len(head) < 30:
        return None
    match head[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", head, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


def _gif_sizes(peek: Peek) -> Iterator[Size]:
    """The screen, and the extent of the first frame, which enlarges the screen in Pillow."""
    head = peek(0, 13)
    if len(head) < 13:
        return
    yield struct.unpack_from("<HH", head, 6)
    place = 13 + (3 << (head[10] & 7) + 1 if head[10] & 0x80 else 0)
    for _ in range(_STEPS):
        kind = peek(place, 10)
        if kind[:1] == b"!":
            place = _after_extension(peek, place + 1)
        elif kind[:1] == b"," and len(kind) == 10:
            left, top, width, height = struct.unpack_from("<HHHH", kind, 1)
            yield left + width, top + height
            return
        elif kind[:1] in (b"", b";", b","):
            return
        else:
            place += 1
    raise ValueError("its header has too many parts")


def _after_extension(peek: Peek, place: int) -> int:
    """Where a GIF's extension ends. `place`: that of its label.

    Pillow reads beyond the end of an extension that is empty, or empty after NETSCAPE2.0, so these are refused.
    """
    label, lengths = peek(place, 1), []
    place += 1
    first = peek(place + 1, 11)
    for _ in range(_STEPS):
        length = int.from_bytes(peek(place, 1), "big")
        place += 1 + length
        if not length:
            break
        lengths.append(length)
    else:
        raise ValueError("its header has too many parts")
    least = 2 if first == b"NETSCAPE2.0" else 1
    if label != b"\xfe" and len(lengths) < least:
        raise ValueError("it has an empty extension")
    return place


def _jpeg2000_size(peek: Peek) -> Size:
    """The size in the codestream: the size in the box header around it may be another one."""
    place = _codestream(peek) if peek(0, 2) == b"\0\0" else 0
    head = peek(place, 42)
    if len(head) < 42 or head[:4] != b"\xff\x4f\xff\x51":
        raise ValueError("it has no JPEG 2000 image where one should be")
    right, bottom, left, top, tile_width, tile_height, tiles_left, tiles_top = struct.unpack_from(">8I", head, 8)
    width, height = right - left, bottom - top
    components = int.from_bytes(head[40:42], "big")
    if min(width, height, tile_width, tile_height) <= 0 or components > _COMPONENTS:
        raise ValueError("its JPEG 2000 header is damaged")
    tiles = -(-(right - tiles_left) // tile_width) * -(-(bottom - tiles_top) // tile_height)
    if tiles > max(_FEW_TILES, width * height // _TILE_PIXELS):
        raise ValueError(f"it has {tiles} tiles, far more than its size needs")
    return width, height


def _codestream(peek: Peek) -> int:
    """Where the codestream of a JP2 file begins: in its box `jp2c`."""
    place = 0
    for _ in range(_STEPS):
        head = peek(place, 16)
        length, skip = int.from_bytes(head[:4], "big"), 8
        if length == 1:  # the length is in the next eight bytes
            length, skip = int.from_bytes(head[8:16], "big"), 16
        if head[4:8] == b"jp2c":
            return place + skip
        if length < skip:
            break
        place += length
    raise ValueError("it has no JPEG 2000 image")
