"""Embeddings of many images in a file: .npz, .csv or .parquet, written in pieces, so that memory stays bounded."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.csv_text import csv_text
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import make_parent, write_atomically
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.pictures import OnBad, Picture
from fgvc_cli.machine.distributed import on_main, world
from fgvc_cli.predict.arrow import arrow, arrow_text
from fgvc_cli.progress import Reporter

_PIECE = 8192  # images
_OTHERS = ".npz or .csv"
Layout = dict[str, slice]


class _Table(ABC):
    """A file that takes rows in pieces."""

    def __init__(self, path: Path, names: Sequence[str], layout: Layout) -> None:
        self.path, self.names, self.layout = path, names, layout

    @abstractmethod
    def add(self, names: Sequence[str], rows: NDArray[np.float32]) -> None:
        """Add the rows (B, D) of some images."""

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Finish the file."""


class _Csv(_Table):
    """path, then one column a number."""

    def __enter__(self) -> Self:
        self._file = self.path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        header = [f"{name}_{column}" for name, part in self.layout.items() for column in range(part.stop - part.start)]
        self._file.write(csv_text(["path", *header], []))
        return self

    def add(self, names: Sequence[str], rows: NDArray[np.float32]) -> None:
        text = csv_text(["path"], ([name, *map(str, row)] for name, row in zip(names, rows, strict=True)))
        self._file.write(text.partition("\n")[2])

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._file.close()


class _Npz(_Table):
    """`path` (N,) text, and one array (N, D) for each vector. One pass for each, as an archive is written in order."""

    def __enter__(self) -> Self:
        self._pieces = [self.path.with_name(f"{self.path.name}.{name}") for name in self.layout]
        self._files: list[IO[bytes]] = [piece.open("w+b") for piece in self._pieces]
        return self

    def add(self, names: Sequence[str], rows: NDArray[np.float32]) -> None:
        for file, part in zip(self._files, self.layout.values(), strict=True):
            file.write(np.ascontiguousarray(rows[:, part]).tobytes())

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self._archive()
        finally:
            for file, piece in zip(self._files, self._pieces, strict=True):
                file.close()
                piece.unlink(missing_ok=True)

    def _archive(self) -> None:
        with zipfile.ZipFile(self.path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            with archive.open("path.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.array([*map(arrow_text, self.names)]), allow_pickle=False)
            for file, (name, part) in zip(self._files, self.layout.items(), strict=True):
                file.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    shape = (len(self.names), part.stop - part.start)
                    facts = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_2_0(member, facts)
                    while piece := file.read(1 << 22):
                        member.write(piece)


class _Parquet(_Table):
    """`path` text, and one column of lists for each vector."""

    def __enter__(self) -> Self:
        pa, parquet = arrow(_OTHERS)
        fields = [(name, pa.list_(pa.float32(), part.stop - part.start)) for name, part in self.layout.items()]
        self._schema = pa.schema([("path", pa.string()), *fields])
        self._writer = parquet.ParquetWriter(self.path, self._schema)
        return self

    def add(self, names: Sequence[str], rows: NDArray[np.float32]) -> None:
        pa, _ = arrow(_OTHERS)
        columns = [
            pa.FixedSizeListArray.from_arrays(np.ascontiguousarray(rows[:, part]).reshape(-1), part.stop - part.start)
            for part in self.layout.values()
        ]
        texts = pa.array(map(arrow_text, names), pa.string())
        self._writer.write_table(pa.table([texts, *columns], schema=self._schema))

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._writer.close()


_FORMATS: dict[str, type[_Table]] = {".npz": _Npz, ".csv": _Csv, ".parquet": _Parquet}


def check_out(path: Path) -> None:
    """BadRequest if embeddings cannot be written under this name."""
    if path.suffix.lower() not in _FORMATS:
        raise BadRequest(f"--out {path}: the name must end in {', '.join(list(_FORMATS)[:-1])} or {list(_FORMATS)[-1]}")
    if path.suffix.lower() == ".parquet":
        arrow(_OTHERS)
    if path.exists() and not path.is_file():
        raise BadRequest(f"--out {path}: this is not a regular file")


def write_embeddings(
    path: Path, embedder: Embedder, pictures: Sequence[Picture], reporter: Reporter, on_bad: OnBad
) -> int:
    """Write the embeddings of all images that can be read, in order; the file is complete or absent.

    What is computed is kept, so a repeated command goes on where a killed one ended. Of several processes each computes
    its share, and the main one writes.

    Returns:
        The number of images written.
    """
    lost: set[int] = set()  # a tar may hold a name twice

    def note(picture: Picture, error: Exception) -> None:
        lost.add(id(picture))
        on_bad(picture, error)  # type: ignore[arg-type]

    for start in range(0, len(pictures), _PIECE):  # bounded: only the store's file grows
        embedder.embed(pictures[start : start + _PIECE], reporter, on_bad=note)
    kept = [picture for picture in pictures if id(picture) not in lost]
    if not kept:
        raise BadRequest("no image could be read: nothing is written")
    if world().main:
        make_parent(path)
        names = [picture.name for picture in kept]
        kind = _FORMATS[path.suffix.lower()]
        write_atomically(path, lambda temporary: _write(kind(temporary, names, embedder.layout), embedder, kept))
    on_main(lambda: None)
    return len(kept)


def _write(table: _Table, embedder: Embedder, kept: Sequence[Picture]) -> None:
    with table:
        for start in range(0, len(kept), _PIECE):
            piece = slice(start, start + _PIECE)
            table.add(table.names[piece], embedder.kept(kept[piece]))
