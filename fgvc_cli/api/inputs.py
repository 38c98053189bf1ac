"""Images as a program has them: paths, Pillow's images, arrays, tensors. Nothing here imports torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, overload

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded
from fgvc_cli.inference.pictures import Picture, find_pictures

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

OneImage: TypeAlias = Union[str, os.PathLike[str], Picture, "Image.Image", NDArray[Any], "Tensor"]
Pixels = NDArray[np.uint8]
_CHANNELS = (1, 3, 4)
_TAKEN = "a path, a Pillow image, an array (H, W, 3) or a tensor (3, H, W)"


def is_one(images: object) -> bool:
    """Whether this is one image, not several. An array or tensor of four axes is several."""
    if isinstance(images, str | os.PathLike | Picture) or _is_pillow(images):
        return True
    return hasattr(images, "ndim") and images.ndim <= 3


def several(images: Iterable[OneImage]) -> list[OneImage]:
    """The images of a list, of any other iterable, or of an array or tensor of four axes."""
    try:
        if isinstance(images, Mapping):
            raise TypeError
        return list(images)
    except TypeError:
        raise BadRequest(f"cannot take {type(images).__name__} as an image: give {_TAKEN}, or a list of them") from None


def read(image: Any, name: str) -> tuple[str, Path | None, Pixels | None]:
    """A name for messages, and the file of an image or its pixels (H, W, 3) uint8 RGB.

    An array or tensor holds uint8, or floating-point values in 0..1; one of a single channel is grey, a fourth channel
    is opacity.

    Args:
        image: a path, a Pillow image, an array (H, W) or (H, W, channels), a tensor (H, W) or (channels, H, W).
        name: of an image without a file.

    Raises:
        BadRequest: it is none of these.
    """
    if isinstance(image, str | os.PathLike):
        return os.fspath(image), _file(image, name), None
    if _is_pillow(image):
        return getattr(image, "filename", "") or name, None, _of_pillow(image)
    if hasattr(image, "detach"):
        array = image.detach().cpu().numpy()
        return name, None, _of_array(array.transpose(1, 2, 0) if array.ndim == 3 else array, name, "(3, H, W)")
    if isinstance(image, np.ndarray):
        return name, None, _of_array(image, name, "(H, W, 3)")
    raise BadRequest(f"{name}: cannot take {type(image).__name__} as an image: give {_TAKEN}")


def pictures_of(images: OneImage | Iterable[OneImage]) -> list[Picture]:
    """One image or several, by name, with their files or pixels. BadRequest for one of no known kind."""
    given: Any = [images] if is_one(images) else images
    found = []
    for place, image in enumerate(several(given)):
        if isinstance(image, Picture):
            found.append(image)
            continue
        name, file, pixels = read(image, f"image {place}")
        found.append(Picture(name, file or Path(name), pixels=pixels))
    return found


def _file(image: str | os.PathLike[str], name: str) -> Path:
    """The path of one image. BadRequest for an empty one or a folder; what is missing is told when it is read."""
    text, file = os.fspath(image), expanded(image)
    if not text:
        raise BadRequest(f"{name}: the path is empty")
    if os.path.isdir(file):  # noqa: PTH112 - never raises
        raise BadRequest(f"{text} is a folder: give its images, fgvc.images({text!r})")
    return file


def one_picture(image: OneImage) -> Picture:
    """One image, and no more. BadRequest for several."""
    if not is_one(image):
        raise BadRequest(f"give one image: {_TAKEN}")
    return pictures_of(image)[0]


def _is_pillow(image: object) -> bool:
    return any(f"{kind.__module__}.{kind.__name__}" == "PIL.Image.Image" for kind in type(image).__mro__)


def _of_pillow(image: Any) -> Pixels:
    """Converted as a file's would be: upright, RGB, transparency on white."""
    from PIL import ImageOps

    from fgvc_cli.data.images.read import to_rgb

    return np.asarray(to_rgb(ImageOps.exif_transpose(image) or image))


def _of_array(array: NDArray[Any], name: str, form: str) -> Pixels:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in _CHANNELS or not array.size:
        raise BadRequest(f"{name}: shape {tuple(array.shape)} is no image: give {form}")
    values = _bytes(array, name)
    if values.shape[2] == 4:
        from PIL import Image

        return _of_pillow(Image.fromarray(values, "RGBA"))
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values


def _bytes(array: NDArray[Any], name: str) -> Pixels:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "f" and bool(((array >= 0) & (array <= 1)).all()):  # false for nan too
        return np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    if array.dtype.kind == "f":
        raise BadRequest(f"{name}: floating-point values must be in 0..1, before any normalisation")
    raise BadRequest(f"{name}: values of type {array.dtype}: give uint8, or floating point in 0..1")


@overload
def images(*places: str | os.PathLike[str], follow_links: bool = False, tars: Literal[False] = False) -> list[Path]: ...
@overload
def images(*places: str | os.PathLike[str], follow_links: bool = False, tars: Literal[True]) -> list[Picture]: ...
def images(
    *places: str | os.PathLike[str], follow_links: bool = False, tars: bool = False
) -> list[Path] | list[Picture]:
    """The image files that folders and patterns hold, each once: as `fgvc predict` finds them.

    Args:
        places: image files, folders (all images below them, sorted), patterns such as `photos/*.jpg`.
        follow_links: also read linked folders inside the named folders.
        tars: also find the images in tars, in their places; the list is then one of `Picture`, which all that takes
            images takes.

    Raises:
        BadRequest: a place does not exist, or holds no image.
    """
    found = find_pictures([os.fspath(place) for place in places], follow_links=follow_links, tars=tars)
    return found if tars else [picture.file for picture in found]
