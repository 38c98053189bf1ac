"""Read image files in a process of its own and print, for each, what became of it and how far memory rose.

`python -m tests.attack.peak FILE...` prints a JSON object: file → [the error or "read", MiB by which the peak of the
process's memory exceeded what it used before]. Linux: other systems cannot reset the peak.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from fgvc_cli.data.images.duplicates import difference_hash
from fgvc_cli.data.images.read import ImageError, read_image

MOST = 8 << 30  # bytes of address space: a decoder that takes more fails here, and not the machine
WAYS: dict[str, Callable[[Path], object]] = {"read": read_image, "hash": difference_hash}


def _used(field: str) -> int:
    found = re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def rise(look: Callable[[Path], object], path: Path) -> tuple[str, float]:
    """The error or "read", and MiB."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is used now
    before = _used("VmHWM")
    try:
        look(path)
        told = "read"
    except ImageError as error:
        told = str(error)
    return told, (_used("VmHWM") - before) / 1024


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MOST, MOST))
    read_image(sys.argv[1])  # loads what is loaded once
    found = {way: {path: rise(look, Path(path)) for path in sys.argv[1:]} for way, look in WAYS.items()}
    print(json.dumps(found))
