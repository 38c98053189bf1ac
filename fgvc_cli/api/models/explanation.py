"""A picture of why, in memory."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded

if TYPE_CHECKING:
    from PIL.Image import Image

    from fgvc_cli.viz.sheet import Sheet


@dataclass(frozen=True)
class Explanation:
    """What a model looked at in one image. A notebook shows the picture."""

    kind: str  # of `fgvc viz`
    facts: dict[str, Any]  # predicted, probability, and what the kind tells, as in manifest.json
    _sheet: Sheet = field(repr=False)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture, completely or not at all, in the place of what is there.

        Raises:
            BadRequest: the name does not end in .png.
            FgvcError: the file cannot be written.
        """
        file = expanded(path)
        if file.suffix.lower() != ".png":
            raise BadRequest(f"{file}: the picture is a PNG: give a name that ends in .png")
        self._sheet.write(file)
        return file

    @property
    def image(self) -> Image:
        """The picture, RGB."""
        from fgvc_cli.data.images.read import open_image, to_rgb

        return to_rgb(open_image(io.BytesIO(self._repr_png_())))

    def _repr_png_(self) -> bytes:
        return self._sheet.png()
