"""What one server takes on at most."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1_000_000
LONGEST_NAME = 300  # characters of a file's name that is shown


@dataclass(frozen=True)
class Limits:
    """Bounds on what clients can ask for; all are enforced before the work begins."""

    upload: int = 25 * MEGABYTE  # bytes of an image file
    pixels: int = 60_000_000  # of an image: by its header, before it is decoded
    waiting: int = 32  # requests that wait for the model or are being received; one more is refused
    seconds: float = 60.0  # to receive an image, and then to answer it
    kept: int = 500  # images that are kept to be explained and corrected; the oldest are forgotten first
    kept_bytes: int = 2_000 * MEGABYTE  # of their files
    together: int = 8  # images that the model sees at once
    connections: int = 256
