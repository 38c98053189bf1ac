"""Whether the files of a cache are what was written: their layout byte for byte, their size, their checksum.

CRC-32 finds accidental damage. It does not protect from somebody who can write to the cache.
"""

from __future__ import annotations

import io
import json
import stat
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fgvc_cli.machine.threads import cores

_BLOCK = 16 << 20  # bytes that a thread reads and sums at a time
_FACTS = 1 << 16  # bytes that a file of facts has at most


def header_of(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The bytes before the values in a .npy file of this data type and shape."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def checksum_of(path: Path, dtype: str, shape: tuple[int, ...]) -> str | None:
    """The checksum of a .npy file; None if it cannot be read, or is not an array of this data type and shape.

    All of the file is read, in threads.
    """
    header = header_of(dtype, shape)
    size = len(header) + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != size or _read(path, 0, len(header)) != header:
            return None
        with ThreadPoolExecutor(cores()) as pool:
            sums = pool.map(lambda start: zlib.crc32(_read(path, start, _BLOCK)), range(0, size, _BLOCK))
            return f"{zlib.crc32(np.array(list(sums), dtype='<u4').tobytes()):08x}"
    except OSError:
        return None


def read_facts(path: Path) -> dict[str, Any]:
    """The object in a small JSON file; empty if there is none that can be read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _FACTS:
            return {}
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _read(path: Path, start: int, count: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read(count)
