"""Small copies of images for a page: WebP, as bytes or inside the page."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

from fgvc_cli.data.images.read import read_image

_QUALITY = 72  # of WebP, 0..100


@lru_cache(maxsize=1024)
def thumbnail(file: Path, side: int, most_pixels: int) -> bytes:
    """The image in a file as WebP, its longer side at most `side` pixels.

    ImageError if it cannot be read, or has more than `most_pixels`.
    """
    image = Image.fromarray(read_image(file, most_pixels).permute(1, 2, 0).numpy())
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2)
    return webp(image)


def webp(image: Image.Image) -> bytes:
    """The image as WebP."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return buffer.getvalue()


def data_uri(encoded: bytes) -> str:
    """A WebP image as a data URI, to embed it in the page."""
    return "data:image/webp;base64," + base64.b64encode(encoded).decode()
