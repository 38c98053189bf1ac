"""Embeddings on disk: computed once for each image and network, and shared by all commands.

    features/KEY/about.json        the width D, and what KEY was made of
    features/KEY/NAME.rows         records of 24 + 4 D bytes: the image's key, a checksum, D float32

KEY is a digest of the network's weights and of all else that decides an embedding; an image's key is a digest of its
file's content and of how it is made into the network's input. So nothing is ever mixed, whatever files are renamed,
replaced or copied. Each process that computes appends to a file of its own, record by record: a killed one leaves at
most an incomplete last record. A record is checked when it is read, and damage costs only the time to compute it again.
"""

from __future__ import annotations

import hashlib
import os
import uuid
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.catalog import cache_home
from fgvc_cli.files import explained, json_text, write_text

KEY_BYTES = 16
_ABOUT = "about.json"


def digest(*parts: bytes) -> bytes:
    """KEY_BYTES bytes that differ for different parts."""
    found = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()


class FeatureStore:
    """The embeddings of one network.

    Args:
        key: of the network and all else that decides an embedding, as `digest` gives it.
        width: D.
        about: what the key was made of, for a reader of the folder.
        home: the folder of all stores; None: in fgvc's cache folder.
    """

    def __init__(self, key: bytes, width: int, about: dict[str, Any], home: Path | None = None) -> None:
        self.folder = (cache_home() / "features" if home is None else home) / key.hex()
        self.width = width
        self.about = about
        self._record = np.dtype(
            [("key", f"V{KEY_BYTES}"), ("sum", "<u4"), ("unused", "<u4"), ("vector", "<f4", (width,))]
        )
        self._segments: list[NDArray[Any]] = []
        self._place: dict[bytes, tuple[int, int]] = {}
        self._own: Path | None = None
        self.refresh()

    def __len__(self) -> int:
        """Number of images with an embedding."""
        return len(self._place)

    def refresh(self) -> None:
        """Read which images have one: also those that other processes have added."""
        self._segments, self._place = [], {}
        for path in sorted(self.folder.glob("*.rows")) if self.folder.is_dir() else []:
            count = path.stat().st_size // self._record.itemsize if path.is_file() else 0
            if count:
                self._add(np.memmap(path, self._record, mode="r", shape=(count,)))

    def _add(self, segment: NDArray[Any]) -> None:
        number = len(self._segments)
        self._segments.append(segment)
        keys = segment["key"].tobytes()
        for row in range(len(segment)):
            self._place[keys[row * KEY_BYTES : (row + 1) * KEY_BYTES]] = (number, row)

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Positions of the keys without a sound embedding, each key once."""
        seen: set[bytes] = set()
        found = []
        for position, key in enumerate(keys):
            if key not in seen and self._vector(key) is None:
                found.append(position)
            seen.add(key)
        return found

    def vectors(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """(N, D) of these keys. KeyError if one has none."""
        found = np.empty((len(keys), self.width), np.float32)
        for position, key in enumerate(keys):
            vector = self._vector(key)
            if vector is None:
                raise KeyError(key)
            found[position] = vector
        return found

    def append(self, keys: Iterable[bytes], vectors: NDArray[np.float32]) -> None:
        """Store embeddings (B, D), in this process's own file. FgvcError if they cannot be written."""
        records = np.zeros(len(vectors), self._record)
        records["vector"] = vectors
        for record, key in zip(records, keys, strict=True):
            record["key"] = np.void(key)
            record["sum"] = _sum(key, record["vector"])
        with explained(str(self.folder)), self._file().open("ab") as file:
            file.write(records.tobytes())
        self._add(records)

    def _file(self) -> Path:
        """This process's file; an incomplete record would shift all that follow, so every process begins a new one."""
        if self._own is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / _ABOUT, json_text({"width": self.width, **self.about}, indent=2))
            self._own = self.folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.rows"
        return self._own

    def _vector(self, key: bytes) -> NDArray[np.float32] | None:
        """The embedding of a key; None if there is none, or a damaged one, which is forgotten."""
        place = self._place.get(key)
        if place is None:
            return None
        record = self._segments[place[0]][place[1]]
        vector: NDArray[np.float32] = record["vector"]
        if record["sum"] == _sum(key, vector):
            return vector
        del self._place[key]
        return None


def _sum(key: bytes, vector: NDArray[np.float32]) -> int:
    return zlib.crc32(vector.tobytes(), zlib.crc32(key))
