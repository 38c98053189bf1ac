"""One image file → RGB pixels.

JPEG, plain 8-bit PNG and plain WebP are decoded by torchvision; all else (palettes, alpha, 16 bits, GIF, TIFF, BMP)
and whatever torchvision refuses goes through Pillow. Both ways give the same pixels. What every image becomes:

- turned as its EXIF orientation says;
- grey, palette and CMYK images become RGB;
- transparent pixels are laid on white, as a page shows them: what is stored beneath is arbitrary;
- 16 bits are scaled from 0..65535 to 0..255, floating point from 0..1; of an animation the first frame is taken.
"""

from __future__ import annotations

import io
import os

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from fgvc_cli.errors import FgvcError

_JPEG_NAMES = {".jpg", ".jpeg", ".jpe", ".jfif", ".jp2"}
_OTHER_NAMES = {".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".avif"}
EXTENSIONS = frozenset(_JPEG_NAMES | _OTHER_NAMES)
_PNG = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2  # colour types of a PNG
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class ImageError(FgvcError):
    """An image file that cannot be read; the message names it."""


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    _, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() in EXTENSIONS


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """The picture in a file, (3, H, W) uint8 RGB, upright. ImageError if there is none."""
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ImageError(f"{os.fspath(path)}: cannot be read ({error.strerror or error})") from None
    if encoded.size == 0:
        raise ImageError(f"{os.fspath(path)}: the image file is empty")
    if _is_plain(encoded):
        try:
            pixels: Tensor = decode_image(torch.from_numpy(encoded), ImageReadMode.RGB, apply_exif_orientation=True)
            return pixels
        except RuntimeError:  # Pillow may still read it, and says better what is wrong
            pass
    return _read_with_pillow(path, encoded)


def _is_plain(encoded: NDArray[np.uint8]) -> bool:
    """Whether torchvision reads this file as documented above: it drops alpha, keeps 16 bits, turns no WebP."""
    head = encoded[:64].tobytes()
    if head.startswith(b"\xff\xd8\xff"):
        return True
    if head.startswith(_PNG) and len(head) > 25:
        eight_bit = head[24] == 8 and head[25] in (_GREY, _RGB)
        return eight_bit and b"tRNS" not in encoded[:65536].tobytes().partition(b"IDAT")[0]
    return head.startswith(b"RIFF") and head[8:16] == b"WEBPVP8 "  # lossy, without the header that alpha and EXIF need


def _read_with_pillow(path: str | os.PathLike[str], encoded: NDArray[np.uint8]) -> Tensor:
    try:
        with Image.open(io.BytesIO(encoded.tobytes())) as image:
            image.load()
            upright = ImageOps.exif_transpose(image) or image
            pixels = np.array(_to_rgb(upright))
    except Exception as error:  # Pillow's decoders raise anything from SyntaxError to struct.error
        raise ImageError(f"{os.fspath(path)}: is no readable image ({_reason(error)})") from None
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        values = np.asarray(image, dtype=np.float64) / 257
        return Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64)) * 255
        return Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "unknown format or damaged"
    return (str(error).splitlines() or [type(error).__name__])[0]
