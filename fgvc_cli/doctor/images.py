"""Whether images can be decoded and drawn."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fgvc_cli.doctor.check import Check
from fgvc_cli.machine.imports import has_module

_NEEDED = ("JPEG", "PNG")
_OTHERS = ("WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
_ENDINGS = {"JPEG2000": "jp2", "TIFF": "tif"}


def formats() -> Check:
    """Which formats are read: a small image is written and read in each."""
    failed = {format: why for format in (*_NEEDED, *_OTHERS) if (why := _fails(format))}
    bad = [f"{format} ({why})" for format, why in failed.items() if format in _NEEDED]
    if bad:
        return Check("images", "broken", f"cannot be read: {', '.join(bad)}")
    heic = ["HEIC"] if has_module("pillow_heif") else []
    works = [*(format for format in (*_NEEDED, *_OTHERS) if format not in failed), *heic]
    lacks = [*failed, *(["HEIC"] if not heic else [])]
    return Check("images", "ok", f"reads {', '.join(works)}" + (f"; not {', '.join(lacks)}" if lacks else ""))


def _fails(format: str) -> str | None:
    """Why a format cannot be read, or written by Pillow, which says the same of it; None if it can be."""
    from PIL import Image

    from fgvc_cli.data.images.read import read_image

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"a.{_ENDINGS.get(format, format.lower())}")
        try:
            Image.new("RGB", (8, 6), "white").save(file, format=format)
            right = tuple(read_image(file).shape) == (3, 6, 8) and int(read_image(file).min()) > 240
        except Exception as error:  # Pillow's errors are of many kinds
            return " ".join(str(error).replace(str(file), format).split()) or type(error).__name__
    return None if right else "wrong pixels"


def opencv() -> Check:
    """OpenCV, which needs libraries of the system."""
    from fgvc_cli.viz.pixels import opencv

    return Check("opencv", "ok", str(opencv().__version__))
