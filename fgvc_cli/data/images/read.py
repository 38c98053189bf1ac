"""One image file → RGB pixels.

torchvision decodes JPEG and plain WebP, in half of Pillow's time. Pillow decodes everything else (PNG, TIFF, GIF, BMP,
images with alpha) and what torchvision cannot decode. Both give the same pixels. Every image is converted:

- it is rotated as its EXIF orientation says;
- grey, palette and CMYK images become RGB;
- transparent images are composited on white, as on a web page: the colour stored under transparency is arbitrary;
- 16-bit values are scaled from 0..65535 to 0..255, floating-point values from 0..1;
- the first frame of an animation is used.

The format is found from the file's content, not from its name, and is one of `FORMATS`: Pillow's other plugins read
files that nobody takes for photos, and one of them starts another program. The pixel limit is checked on the header,
before anything is decoded or allocated.
"""

from __future__ import annotations

import importlib
import io
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features
from PIL.TiffImagePlugin import TiffImageFile

from fgvc_cli.data.images.claims import claimed_sizes
from fgvc_cli.data.images.headers import phone_format, plain_size
from fgvc_cli.errors import FgvcError
from fgvc_cli.files import open_regular
from fgvc_cli.spec.data import MAX_PIXELS

if TYPE_CHECKING:
    from torch import Tensor

Image.MAX_IMAGE_PIXELS = None  # `must_fit` replaces Pillow's own limit, since the limit here is data.max_pixels
warnings.filterwarnings("ignore", module=r"PIL\.")  # what matters of damaged metadata is an ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "TGA", "JPEG2000")  # Pillow's names; also AVIF and HEIC
_ON_PHONES = {"AVIF": "AVIF", "HEIC": "HEIF"}  # → Pillow's name

_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # TIFF tags
_LEAST_TILE = 1 << 24  # pixels that a tile may always have; a small image may lie in one large tile
_MOST_BYTES = 16 * MAX_PIXELS  # a file of zeros may claim any size and take no room on the disk
_ON_ITS_SIDE = (5, 6, 7, 8)  # EXIF orientations that swap height and width
T = TypeVar("T")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class ImageError(FgvcError):
    """An image file that cannot be read; the message names it."""


class ImageTooLarge(ImageError):
    """An image with more pixels than the limit."""

    @property
    def found(self) -> str:
        """How many it has, such as `has 9000 x 9000 pixels`."""
        return str(self).partition(", ")[0]


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes of one file inside another."""

    within: Path
    offset: int = 0
    size: int = 0  # -1: to the end of the file
    wrong: str = ""  # why it cannot be read, if that is known


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, part: Part | None = None) -> Tensor:
    """The image in a file, (3, H, W) uint8 RGB, upright. ImageError if it cannot be read, or H × W > max_pixels.

    Args:
        path: the file; the name of the image in messages.
        max_pixels: the limit.
        part: where the image is, if it is a part of another file.
    """
    return _read(path, part, lambda encoded: _decode(encoded, max_pixels))


def read_pixels(
    path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, part: Part | None = None
) -> NDArray[np.uint8]:
    """The same pixels as those of `read_image`, (H, W, 3), without PyTorch and torchvision."""
    return _read(path, part, lambda encoded: _decode_with_pillow(encoded, max_pixels))


def _read(path: str | os.PathLike[str], part: Part | None, decode: Callable[[NDArray[np.uint8]], T]) -> T:
    try:
        encoded = read_bytes(path, part)
        if encoded.size == 0:
            raise ImageError("the image file is empty")
        return decode(encoded)
    except Exception as error:  # Pillow's decoders raise exceptions of many kinds, from SyntaxError to struct.error
        raise ImageError(f"{os.fspath(path)}: {reason(error)}") from None


def read_bytes(path: str | os.PathLike[str], part: Part | None = None) -> NDArray[np.uint8]:
    """The bytes of a file, or of a part of another file. OSError or ImageError if they cannot be read."""
    part = part or Part(Path(path), size=-1)
    if part.wrong:
        raise ImageError(part.wrong)
    with open_regular(part.within) as stream:
        size = os.fstat(stream.fileno()).st_size if part.size < 0 else part.size
        if size > _MOST_BYTES:
            raise ImageError(f"has {size} bytes, more than any image that can be used")
        stream.seek(part.offset)
        return np.fromfile(stream, dtype=np.uint8, count=part.size)


def _decode(encoded: NDArray[np.uint8], max_pixels: int) -> Tensor:
    import torch  # here, as an exported model needs none
    from torchvision.io import ImageReadMode, decode_image

    size = plain_size(encoded)
    if size is not None:
        must_fit(size, max_pixels)
        try:
            pixels: Tensor = decode_image(torch.from_numpy(encoded), ImageReadMode.RGB, apply_exif_orientation=True)
            return pixels
        except RuntimeError:  # Pillow may still decode it, and gives a better error message
            pass
    return torch.from_numpy(_decode_with_pillow(encoded, max_pixels)).permute(2, 0, 1)


def _decode_with_pillow(encoded: NDArray[np.uint8], max_pixels: int) -> NDArray[np.uint8]:
    with open_image(io.BytesIO(encoded.tobytes()), max_pixels) as image:
        image.load()
        return np.array(to_rgb(ImageOps.exif_transpose(image) or image))


def image_size(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width that `read_image` gives, from the file's header where that can be read, and ImageError like it.

    A damaged file whose header can be read is not noticed.
    """
    try:
        with open_regular(path) as stream, open_image(stream, max_pixels) as image:
            width, height = image.size
            decodes = image.format == "PNG" and "exif" not in image.info  # to look for EXIF behind the pixels
            upright = decodes or image.format == "TIFF"  # whose size Pillow gives as it is after turning
            turned = not upright and image.getexif().get(ExifTags.Base.Orientation) in _ON_ITS_SIDE
            return (width, height) if turned else (height, width)
    except Exception:  # decoding may succeed, and gives the better error message
        pixels = read_image(path, max_pixels)
        return pixels.shape[1], pixels.shape[2]


def must_fit(size: tuple[int, int], max_pixels: int) -> None:
    """ImageError for an image whose `size` (width, height) exceeds the limit."""
    width, height = size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"has {width} x {height} pixels, over the limit of {max_pixels}; "
            f"make it smaller, or train with --set data.max_pixels={width * height}"
        )


def open_image(stream: IO[bytes], max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Pillow's image of an open file. Only the header is read; nothing is decoded.

    Raises ImageError where the image exceeds the limit or the package that reads the format is missing, and Pillow's
    exceptions of any kind.
    """

    def peek(place: int, count: int) -> bytes:
        stream.seek(place)
        return stream.read(count)

    for size in claimed_sizes(peek):
        must_fit(size, max_pixels)
    kind = phone_format(peek(0, 64))
    if kind == "HEIC":
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ImportError:
            raise ImageError("is a HEIC image; to read HEIC: pip install pillow-heif") from None
    if kind == "AVIF" and "avif" not in features.get_supported():
        raise ImageError("is an AVIF image; to read AVIF: pip install --upgrade pillow")
    stream.seek(0)
    image = Image.open(stream, formats=FORMATS if kind is None else (_ON_PHONES[kind],))
    must_fit(image.size, max_pixels)
    _tile_must_fit(image, max_pixels)
    return image


def _tile_must_fit(image: Image.Image, max_pixels: int) -> None:
    """ImageError for a TIFF with tiles over the limit: a whole tile is decoded, however small the image is."""
    if isinstance(image, TiffImageFile):
        tags = image.tag_v2
        width, height = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
        if isinstance(width, int) and isinstance(height, int):
            must_fit((width, height), max(max_pixels, _LEAST_TILE))


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image that Pillow decoded, as 8-bit RGB; transparent images are composited on white."""
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


def reason(error: Exception) -> str:
    """One line that says why an image cannot be read, without its path."""
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "is not a readable image (unknown format or damaged)"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read ({error.strerror})"
    return f"is not a readable image ({(str(error).splitlines() or [type(error).__name__])[0]})"
