"""Images that clients sent: received under a bound, checked by their headers, kept under names of our own."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from fgvc_cli.data.images.read import ImageTooLarge, open_image, reason
from fgvc_cli.files import explained, open_regular
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.predict.answers import Answer
from fgvc_cli.serve.limits import MEGABYTE, Limits
from fgvc_cli.serve.problems import NOT_FOUND, SLOW, TOO_LARGE, WRONG, Problem

ID = "[0-9a-f]{32}"  # of an image: the beginning of its content's SHA-256
_ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "JPEG2000": "jp2", "TIFF": "tif", "HEIF": "heic"}  # others: as Pillow's name


@dataclass(frozen=True)
class Upload:
    """An image file of a client."""

    id: str
    file: Path
    name: str  # the client's, to be shown and never to be used as a path
    size: int  # bytes
    pixels: int

    @property
    def picture(self) -> Picture:
        """The image as the model takes it."""
        return Picture(self.id, self.file)


@dataclass(frozen=True)
class Held:
    """An image and the model's answer, kept to be explained and corrected."""

    upload: Upload
    answer: Answer


class Uploads:
    """The images of one server, in a folder of its own. For the event loop's thread only."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self._held: dict[str, Held] = {}  # oldest first

    async def receive(self, body: AsyncIterator[bytes], name: str) -> Upload:
        """Write a request's body to a file and check its header.

        Problem if it is too large, comes too slowly, or is no image that can be read. The file is the caller's to
        remove, unless `hold` keeps it.
        """
        part = self.folder / f"{secrets.token_hex(8)}.part"
        try:
            async with asyncio.timeout(self.limits.seconds):
                content, size = await self._write(body, part)
            ending, pixels = await asyncio.to_thread(_header, part, self.limits.pixels)
            return Upload(content, part.replace(part.with_suffix(f".{ending}")), name, size, pixels)
        except TimeoutError:
            raise Problem(f"the image did not arrive within {self.limits.seconds:g} seconds", SLOW) from None
        finally:
            part.unlink(missing_ok=True)

    async def _write(self, body: AsyncIterator[bytes], file: Path) -> tuple[str, int]:
        """The content's id and its size in bytes."""
        digest, size = hashlib.sha256(), 0
        with explained("the image"), file.open("xb") as stream:
            async for chunk in body:
                size += len(chunk)
                if size > self.limits.upload:
                    raise too_long(self.limits)
                digest.update(chunk)
                stream.write(chunk)
        if not size:
            raise Problem("the image file is empty", WRONG)
        return digest.hexdigest()[:32], size

    def hold(self, upload: Upload, answer: Answer) -> Held:
        """Keep an image with its answer; the oldest ones give way."""
        kept = upload.file.replace(self.folder / f"{upload.id}{upload.file.suffix}")
        held = Held(replace(upload, file=kept), answer)
        self._held.pop(upload.id, None)
        self._held[upload.id] = held
        while len(self._held) > self.limits.kept or (self._bytes() > self.limits.kept_bytes and len(self._held) > 1):
            self.forget(next(iter(self._held)))
        return held

    def renamed(self, upload: Upload) -> Held | None:
        """What is held of an image that was sent again, under its new name and as the newest; None if nothing is."""
        held = self._held.get(upload.id)
        return held and self.hold(replace(held.upload, name=upload.name or held.upload.name), held.answer)

    def get(self, id: str) -> Held:
        """The image of an id. Problem if it is not held (any more)."""
        if id not in self._held:
            raise Problem("this image is no longer kept here: send it again", NOT_FOUND)
        return self._held[id]

    def all(self) -> list[Held]:
        """All images, the least certain answers first."""
        return sorted(self._held.values(), key=lambda held: -held.answer.uncertainty)

    def forget(self, id: str) -> None:
        """Remove an image."""
        self._held.pop(id).upload.file.unlink(missing_ok=True)

    def _bytes(self) -> int:
        return sum(held.upload.size for held in self._held.values())


def too_long(limits: Limits) -> Problem:
    """The refusal of a body over the limit."""
    return Problem(f"the file is over the limit of {limits.upload / MEGABYTE:g} MB", TOO_LARGE)


def _header(file: Path, most: int) -> tuple[str, int]:
    """A file's ending by its content, and its pixels; nothing is decoded. Problem if it cannot be read."""
    try:
        with open_regular(file) as stream, open_image(stream, most) as image:
            width, height = image.size
            kind = image.format or ""
    except ImageTooLarge as error:
        raise Problem(f"the image {error.found}, over the limit of {most}", TOO_LARGE) from None
    except Exception as error:  # Pillow's plugins raise exceptions of many kinds
        raise Problem(f"the file {reason(error)}", WRONG) from None
    return _ENDINGS.get(kind, kind.lower()), width * height
