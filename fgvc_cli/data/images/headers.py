"""Format and size in pixels of an image file, read from its first bytes without decoding it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.images.claims import jpeg_size, webp_size

Bytes = NDArray[np.uint8]

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})


def plain_size(encoded: Bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG, or of a lossy WebP without extended header; None where the size is not found.

    torchvision decodes these formats as fgvc needs them. In other WebP files it drops alpha and ignores the EXIF
    orientation. Its PNG decoder ends the process when the pixels are damaged (torchvision 0.29). ValueError for a JPEG
    whose header has no end.
    """
    head = encoded[:30].tobytes()
    size = None
    if head.startswith(b"\xff\xd8\xff"):
        size = jpeg_size(lambda place, count: encoded[place : place + count].tobytes())
    elif head.startswith(b"RIFF") and head[8:16] == b"WEBPVP8 ":
        size = webp_size(head)
    return size if size is not None and min(size) > 0 else None


def phone_format(head: bytes) -> str | None:
    """HEIC or AVIF if a file's first bytes (64 are enough) show that format, whatever its name; else None."""
    if head[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, length - 3, 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & _HEIC_BRANDS else None


def ends_whole(tail: bytes, format: str | None) -> bool:
    """Whether the last bytes of a file (64 are enough) show that it is complete. `format` is Pillow's name for it.

    False does not mean that the file is truncated: only decoding can tell.
    """
    match format:
        case "JPEG" | "MPO":
            return tail.rstrip(b"\0").endswith(b"\xff\xd9")
        case "PNG":
            return b"IEND\xaeB`\x82" in tail
        case "GIF":
            return tail.rstrip(b"\0").endswith(b";")
    return False
