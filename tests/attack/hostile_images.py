"""Tiny image files that claim to be huge, made byte by byte."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

WIDE = 60_000  # pixels: an image of this width and height has 3.6e9, twenty times the limit


def saved(format: str, size: tuple[int, int] = (64, 64), **options: object) -> bytes:
    """A small sound image."""
    stream = io.BytesIO()
    Image.new("RGB", size, (200, 60, 30)).save(stream, format, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """A PNG's chunk."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int = 8, height: int = 8, *chunks: bytes, rows: int = 8, frames: int = 0) -> bytes:
    """A grey PNG with other chunks before its pixels, and huge animation frames after them."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes((width + 1) * rows)))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, WIDE, WIDE, 0, 0, 1, 1, 0, 0)) + chunk(b"fdAT", bytes(20))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + pixels + frame * frames + chunk(b"IEND", b"")


def _zeros(mib: int) -> bytes:
    """That many MiB of zeros, compressed a thousandfold."""
    return zlib.compress(bytes(mib << 20), 9)


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _frame(width: int, height: int) -> bytes:
    """A JPEG's baseline frame header of three components."""
    parts = bytes((1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0))
    return _segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + parts)


def jpeg_resized(width: int, height: int, **options: object) -> bytes:
    """A sound JPEG whose frame header claims another size."""
    data = bytearray(saved("JPEG", **options))
    place = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_behind(before: bytes) -> bytes:
    """A huge JPEG behind bytes that libjpeg passes over."""
    return b"\xff\xd8" + before + jpeg_resized(WIDE, WIDE)[2:]


def jpeg_hidden(lead: bytes) -> bytes:
    """A JPEG of 20,000 x 20,000 that libjpeg finds; who trusts the length after `lead` finds a small frame header."""
    large = jpeg_resized(20_000, 20_000)[2:]
    return b"\xff\xd8" + lead + struct.pack(">H", 2 + len(large)) + large + _frame(4, 4)


def jpeg_thumbnail() -> bytes:
    """A small photo with a huge JPEG as thumbnail in its EXIF data."""
    thumbnail = jpeg_resized(WIDE, WIDE)
    entries = struct.pack("<HHHIIHHII", 2, 0x0201, 4, 1, 44, 0x0202, 4, 1, len(thumbnail))
    exif = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 14) + entries + bytes(4) + thumbnail
    return b"\xff\xd8" + _segment(0xE1, b"Exif\0\0" + exif) + saved("JPEG")[2:]


def gif(width: int, height: int, *frames: tuple[int, int], disposal: int = 2) -> bytes:
    """A GIF of such a screen with frames of these sizes, each with a few bytes of pixels."""
    body = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    for size in frames:
        body += b"!\xf9\x04" + bytes((disposal << 2, 0, 0, 0)) + b"\0"
        body += b"," + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\x02\x02\x4c\x01\0"
    return body + b";"


def gif_unlike(label: bytes) -> bytes:
    """A GIF in which an empty extension hides a huge frame behind a small one."""
    small = b"," + struct.pack("<HHHHB", 0, 0, 4, 4, 0)
    huge = b"!\xf9\x04\x08\0\0\0\0," + struct.pack("<HHHHB", 0, 0, WIDE, WIDE, 0) + b"\x02\x02\x4c\x01\0;"
    return gif(4, 4)[:-1] + b"!" + label + b"\0" + bytes((len(small),)) + small + b"\0" + huge


def webp_canvas(width: int, height: int) -> bytes:
    """A WebP with an extended header and a small frame."""
    picture = saved("WEBP")[12:]
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    canvas = b"VP8X" + struct.pack("<II", 10, 0) + size
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(picture)) + b"WEBP" + canvas + picture


def webp_lossless(width: int, height: int) -> bytes:
    data = bytearray(saved("WEBP", lossless=True))
    data[21:25] = ((width - 1) | (height - 1) << 14).to_bytes(4, "little")
    return bytes(data)


def bmp(width: int, height: int, compression: int = 0) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024, 0, 0, 54 + 1024) + head + bytes(1024) + b"\xff\xff\0\2" * 100


def tiff(width: int, height: int, *tags: tuple[int, int, int], frames: int = 1, compression: int = 8) -> bytes:
    """A grey TIFF of deflated zeros; `tags`: number, type, value. Its later frames claim a huge size."""
    pixels = zlib.compress(bytes(4096))
    body, link = b"II*\0" + bytes(4) + pixels, 4
    for frame in range(frames):
        size = (width, height) if frame == 0 else (WIDE, WIDE)
        fields = {256: (4, size[0]), 257: (4, size[1]), 258: (3, 8), 259: (3, compression), 262: (3, 1), 277: (3, 1)}
        fields |= {number: (kind, value) for number, kind, value in tags}
        strips = (324, 325) if 322 in fields else (273, 279)
        fields |= {strips[0]: (4, 8), strips[1]: (4, len(pixels))}
        body += b"\0" * (len(body) % 2)
        body = body[:link] + struct.pack("<I", len(body)) + body[link + 4 :]
        entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(fields.items()))
        link = len(body) + 2 + len(entries)
        body += struct.pack("<H", len(fields)) + entries + bytes(4)
    return body


def tga(width: int, height: int) -> bytes:
    return struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, width, height, 24, 0) + b"\xff\1\2\3" * 50


def codestream(width: int, height: int, tile: tuple[int, int], components: int = 1) -> bytes:
    """The headers of a JPEG 2000 codestream."""
    size = struct.pack(">H8IH", 0, width, height, 0, 0, *tile, 0, 0, components) + b"\7\1\1" * components
    default = bytes((0, 0, 0, 1, 0, 0, 4, 4, 0, 1))
    return b"\xff\x4f" + _segment(0x51, size) + _segment(0x52, default) + _segment(0x5C, b"\x40\x40")


def jp2(inner: bytes, width: int = 8, height: int = 8) -> bytes:
    """A JP2 file whose box header claims a small size."""

    def box(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(content)) + name + content

    head = box(b"ihdr", struct.pack(">IIHBBBB", height, width, 1, 7, 7, 0, 0))
    head += box(b"colr", struct.pack(">BBBI", 1, 0, 0, 17))
    kind = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return kind + box(b"jp2h", head) + box(b"jp2c", inner)


def resized_boxes(data: bytes, width: int, height: int) -> bytes:
    """An AVIF or HEIC whose boxes claim another size than its pixels have."""
    place = data.find(b"ispe")
    while place >= 0:
        data = data[: place + 8] + struct.pack(">II", width, height) + data[place + 16 :]
        place = data.find(b"ispe", place + 4)
    return data


def heic(size: tuple[int, int]) -> bytes:
    import pillow_heif

    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(np.full((size[1], size[0], 3), 99, np.uint8))).save(stream, quality=10)
    return stream.getvalue()


EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n%%BeginPreview\n%%EndPreview\n"
    b"/Times-Roman findfont 10 scalefont setfont showpage\n%%EOF\n"
)

TOO_LARGE: dict[str, bytes] = {  # refused for their size
    "png.jpg": png(WIDE, WIDE, rows=1),
    "jpeg": jpeg_resized(WIDE, WIDE),
    "progressive.jpg": jpeg_resized(WIDE, WIDE, progressive=True),
    "jpeg-hidden": jpeg_hidden(b"\xff\0"),
    "jpeg-garbage": jpeg_behind(b"\xff\xe5\0\2no marker"),
    "jpeg-fill": jpeg_behind(b"\xff" * 9000),
    "gif-screen": gif(WIDE, WIDE, (4, 4)),
    "gif-frame": gif(4, 4, (WIDE, WIDE)),
    "webp-canvas": webp_canvas(WIDE, WIDE),
    "bmp": bmp(WIDE, WIDE),
    "bmp-rle": bmp(WIDE, WIDE, 1),
    "tiff": tiff(WIDE, WIDE),
    "tiff-raw": tiff(WIDE, WIDE, compression=1),
    "tiff-tile": tiff(64, 64, (322, 4, WIDE // 2 // 16 * 16), (323, 4, WIDE // 2 // 16 * 16)),
    "ppm": b"P6 60000 60000 255\n" + bytes(100),
    "pgm-text": b"P2 60000 60000 255\n" + b"1 " * 100,
    "tga": tga(WIDE, WIDE),
    "j2k": codestream(WIDE, WIDE, (WIDE, WIDE)),
    "jp2-codestream": jp2(codestream(WIDE, WIDE, (WIDE, WIDE))),
}
WEBP_MOST = 16_383  # pixels: the largest side of the other WebP forms, 2.7e8 pixels
TOO_LARGE |= {"webp-lossless": webp_lossless(WEBP_MOST, WEBP_MOST)}

_INNER = png(WIDE, WIDE, rows=1)
UNREADABLE: dict[str, bytes] = {  # refused because no decoder should see them
    "gif-empty": gif_unlike(b"\xf9"),
    "gif-netscape": gif_unlike(b"\xff\x0bNETSCAPE2.0"),
    "jp2-components": jp2(codestream(64, 64, (1, 1), 16_000)),
    "jp2-tiles": jp2(codestream(60_000, 1, (1, 1))),
    "ico": struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(_INNER), 22) + _INNER,
    "icns": b"icns" + struct.pack(">I", 16 + len(_INNER)) + b"ic10" + struct.pack(">I", 8 + len(_INNER)) + _INNER,
}

SMALL: dict[str, bytes] = {  # read, or refused, in little memory
    "png-profile": png(8, 8, chunk(b"iCCP", b"p\0\0" + _zeros(200))),
    "png-text": png(8, 8, chunk(b"zTXt", b"t\0\0" + _zeros(200))),
    "png-international": png(8, 8, chunk(b"iTXt", b"t\0\1\0\0\0" + _zeros(200))),
    "png-texts": png(8, 8, *[chunk(b"zTXt", b"t%d\0\0" % i + _zeros(1)[:-8]) for i in range(100)]),
    "png-pixels": png(8, 8, rows=20_000_000),
    "png-frames": png(8, 8, chunk(b"acTL", struct.pack(">II", 2, 0)), frames=1),
    "jpeg-thumbnail": jpeg_thumbnail(),
    "gif-later": gif(4, 4, (4, 4), (WIDE, WIDE)),
    "tiff-later": tiff(64, 64, frames=3),
    "tiff-rows": tiff(64, 64, (278, 4, 2_000_000_000)),
}
