"""Cache of decoded and resized images: in one memory-mapped file that all processes share, or on the GPU.

A square is an image resized to `side` x `side` pixels, before any random transform. The remaining transforms treat it
like a freshly decoded image, so a run is the same with and without the cache. The file is in a folder whose name KEY is
a digest of everything besides the images' content that decides its pixels: the images' folder and names, the side, the
rows cut off at the bottom, the decoders' versions.

    KEY/squares.npy     (N, side, side, 3) uint8
    KEY/sizes.npy       (N, 2) int32: height and width of the images before resizing
    KEY/about.json      what it was made from, with a digest of every image's size in bytes and modification time, and
                        checksums of the other two files

A cache that is opened is checked: layout, size and checksum of each file. One that is wrong in any way is made anew.

`disk` stores the folder in fgvc's cache folder; `ram` stores it in shared memory until the last process that uses it
ends.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import __version__ as pillow_version
from torch import Tensor

from fgvc_cli.data.catalog import cache_home
from fgvc_cli.data.images.read import ImageError, read_image
from fgvc_cli.data.images.survey import Stamp, stamp_of
from fgvc_cli.data.loading.cache_files import (
    Claim,
    alone_with,
    available_memory,
    fill_folder,
    remove_abandoned,
    reserve,
    shared_memory,
)
from fgvc_cli.data.loading.checksums import checksum_of, header_of, read_facts
from fgvc_cli.data.loading.transforms import canvas_of, without_banner
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.machine.threads import cores, torch_threads
from fgvc_cli.spec.data import DataSpec

Progress = Callable[[str, int, int], object]  # what is being done, steps done, steps in total

_VERSION = 2  # increased whenever the layout of the files or the result of `square` changes
_STEP = 64  # images
_GIB = 1 << 30


class SquareFile:
    """squares.npy as a memory-mapped file: pages are read on first use and shared by all processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pixels: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)  # (N, side, side, 3)

    def __reduce__(self) -> tuple[type[SquareFile], tuple[Path]]:
        """A worker process that is not forked maps the file itself."""
        return SquareFile, (self.path,)


@dataclass(frozen=True)
class Squares:
    """N squares of a dataset."""

    kept: SquareFile | Tensor  # a tensor: (N, side, side, 3) uint8 on a device
    sizes: NDArray[np.int32]  # (N, 2) height and width of the images before resizing
    files: tuple[str, ...]  # sorted
    claim: Claim | None = None

    def of(self, split: Split) -> SplitSquares:
        """The squares of a split's images."""
        row_of = {file: row for row, file in enumerate(self.files)}
        rows = np.array([row_of[file] for file in split.files], dtype=np.int64)
        return SplitSquares(self.kept, rows, self.sizes[rows], self.claim)


@dataclass(frozen=True)
class SplitSquares:
    """The squares of a split's images, by position in it."""

    kept: SquareFile | Tensor
    rows: NDArray[np.int64]  # row of each image's square
    sizes: NDArray[np.int32]  # height and width of each image before resizing
    claim: Claim | None = None

    @property
    def on_device(self) -> bool:
        """Whether the squares are a tensor on a device, not a file."""
        return isinstance(self.kept, Tensor)

    def square(self, position: int) -> NDArray[np.uint8]:
        """The square of an image, (side, side, 3), in the memory-mapped file."""
        assert isinstance(self.kept, SquareFile)
        square: NDArray[np.uint8] = self.kept.pixels[self.rows[position]]
        return square

    def size(self, position: int) -> tuple[int, int]:
        """Height and width of an image before resizing."""
        height, width = self.sizes[position].tolist()
        return height, width


@dataclass(frozen=True)
class Wanted:
    """Which squares the cache must hold."""

    root: Path
    files: tuple[str, ...]  # sorted, each once
    cut_bottom: int
    spec: DataSpec

    @classmethod
    def of(cls, index: DatasetIndex, spec: DataSpec) -> Wanted:
        """The images that every epoch reads: those of train and val, however they are divided into the two."""
        splits = [split for name, split in index.splits().items() if name != "test"]
        files = tuple(sorted({file for split in splits for file in split.files}))
        return cls(index.root, files, index.cut_bottom, spec)

    @property
    def side(self) -> int:
        """Side of the squares in pixels."""
        return self.spec.resize_side

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the array of all squares."""
        return len(self.files), self.side, self.side, 3

    @property
    def bytes(self) -> int:
        """Size of all squares in bytes."""
        return int(np.prod(self.shape, dtype=np.int64))

    def name(self) -> str:
        """The cache folder's name: the same for the same images in the same place at the same size."""
        versions = (_VERSION, torch.__version__, torchvision.__version__, pillow_version)
        pixels = (self.side, self.spec.fit, self.spec.interpolation, self.cut_bottom)
        return _digest((*versions, *pixels, os.fspath(self.root.resolve()), *self.files))

    def stamps(self) -> list[Stamp | None]:
        """Current size and modification time of each file."""
        return [stamp_of(self.root / file) for file in self.files]

    def read(self, file: str) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """The square of a file, (side, side, 3), and its image's height and width before resizing."""
        try:
            image = read_image(f"{self.root}/{file}", self.spec.max_pixels)
        except ImageError as error:
            raise ImageError(f"{error}; put a readable image there, or leave it out with --on-bad-image skip") from None
        picture = without_banner(image, self.cut_bottom)
        height, width = picture.shape[1:]
        return canvas_of(height, width, self.spec).draw(picture).permute(1, 2, 0).numpy(), (height, width)


def open_squares(
    index: DatasetIndex, spec: DataSpec, device: torch.device, progress: Progress | None = None
) -> Squares | None:
    """The cached squares of train and val, made now if they do not exist yet. None if the spec's cache is off.

    Raises:
        BadRequest: there is too little room for them, or no GPU.
        ImageError: an image cannot be read.
        FgvcError: they cannot be written, or an image changes in the meantime.
    """
    if spec.cache == "off":
        return None
    wanted, report = Wanted.of(index, spec), progress or (lambda *_: None)
    if spec.cache == "gpu":
        return squares_on_device(wanted, device, report)
    passing = spec.cache == "ram"
    home = shared_memory() if passing else cache_home() / "squares"
    return squares_in_file(wanted, home / wanted.name(), report, passing=passing)


def squares_in_file(wanted: Wanted, folder: Path, progress: Progress, *, passing: bool = False) -> Squares:
    """The squares in a folder. `passing`: the folder is removed when no process uses it any more."""

    def waiting() -> None:
        progress("waiting for another process that is caching these images", 0, 0)

    with _explained(folder, wanted), alone_with(folder, waiting):
        remove_abandoned(folder.parent, folder, whole=passing)
        stamps = wanted.stamps()
        if not _is_whole(folder, wanted, stamps):
            _enough_room(wanted, folder.parent, passing=passing)
            fill_folder(folder, lambda part: _write(part, wanted, stamps, progress))
        claim = Claim(folder) if passing else None
        return Squares(
            SquareFile(folder / "squares.npy"), np.load(folder / "sizes.npy", allow_pickle=False), wanted.files, claim
        )


def squares_on_device(wanted: Wanted, device: torch.device, progress: Progress) -> Squares:
    """The squares as one tensor on a device."""
    if device.type == "cpu":
        raise BadRequest("--cache gpu: this run computes on the CPU; use --cache ram or disk")
    if device.type == "cuda" and wanted.bytes > (free := torch.cuda.mem_get_info(device)[0]):
        raise BadRequest(f"--cache gpu: {_lack(wanted, free)} on the GPU; use --cache ram or disk")
    return decode_to(wanted, device, progress)


def decode_to(wanted: Wanted, device: torch.device, progress: Progress) -> Squares:
    """The squares as one tensor on a device that has enough memory."""
    pixels = torch.empty(wanted.shape, dtype=torch.uint8, device=device)
    sizes = np.empty((len(wanted.files), 2), dtype=np.int32)
    for row, (squared, size) in enumerate(_decoded(wanted, f"{_caching(wanted)} on the GPU", progress)):
        pixels[row].copy_(torch.from_numpy(squared))
        sizes[row] = size
    return Squares(pixels, sizes, wanted.files)


def _decoded(wanted: Wanted, what: str, progress: Progress) -> Iterator[tuple[NDArray[np.uint8], tuple[int, int]]]:
    """Each square in order, decoded in threads, and its image's height and width before resizing."""
    parts = [wanted.files[start : start + _STEP] for start in range(0, len(wanted.files), _STEP)]
    progress(what, 0, len(parts))
    with torch_threads(1), ThreadPoolExecutor(cores()) as pool:
        for step, part in enumerate(parts, start=1):
            yield from pool.map(wanted.read, part)
            progress(what, step, len(parts))


def _is_whole(folder: Path, wanted: Wanted, stamps: list[Stamp | None]) -> bool:
    """Whether a folder holds the squares of exactly these images, unchanged since, and nothing in it is damaged."""
    about = read_facts(folder / "about.json")
    return about.get("images") == _digest(stamps) and all(
        about.get(name) == checksum_of(folder / name, dtype, shape) for name, (dtype, shape) in _arrays(wanted).items()
    )


def _arrays(wanted: Wanted) -> dict[str, tuple[str, tuple[int, ...]]]:
    """File → data type and shape."""
    return {"squares.npy": ("|u1", wanted.shape), "sizes.npy": ("<i4", (len(wanted.files), 2))}


def _write(folder: Path, wanted: Wanted, stamps: list[Stamp | None], progress: Progress) -> None:
    sizes = _write_squares(folder / "squares.npy", wanted, progress)
    np.save(folder / "sizes.npy", sizes.astype("<i4"))
    for file, before, after in zip(wanted.files, stamps, wanted.stamps(), strict=True):
        if before != after:
            raise FgvcError(f"{wanted.root / file} changed while it was being cached: start again")
    about: dict[str, object] = {"root": str(wanted.root), "count": len(wanted.files), "side": wanted.side}
    about["images"] = _digest(stamps)
    about |= {name: checksum_of(folder / name, dtype, shape) for name, (dtype, shape) in _arrays(wanted).items()}
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _write_squares(path: Path, wanted: Wanted, progress: Progress) -> NDArray[np.int32]:
    """Write squares.npy and return the sizes. The file is not memory-mapped here: a full disk would end the process."""
    sizes = np.empty((len(wanted.files), 2), dtype=np.int32)
    what = f"{_caching(wanted)} in {path.parents[1]}"
    with path.open("wb") as file:
        file.write(header_of("|u1", wanted.shape))
        file.flush()
        reserve(file.fileno(), file.tell() + wanted.bytes)
        for row, (squared, size) in enumerate(_decoded(wanted, what, progress)):
            file.write(np.ascontiguousarray(squared).data)
            sizes[row] = size
    return sizes


@contextlib.contextmanager
def _explained(folder: Path, wanted: Wanted) -> Iterator[None]:
    """Turn a failed write into a one-line error that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = f"no room for {_size(wanted.bytes)}" if full else error.strerror or str(error)
        raise FgvcError(
            f"cannot cache images in {folder.parent}: {reason}; free some space there, or use another --cache or off"
        ) from error


def _enough_room(wanted: Wanted, home: Path, *, passing: bool) -> None:
    """BadRequest if the squares do not fit; checked before any image is decoded."""
    free = shutil.disk_usage(home).free
    memory = available_memory() if passing else None
    if memory is not None and wanted.bytes > memory:
        raise BadRequest(f"--cache ram: {_lack(wanted, memory)} in memory; use --cache disk or off")
    if wanted.bytes > free:
        advice = (
            "make it larger (docker run --shm-size), or use --cache disk"
            if passing
            else "free some space, set XDG_CACHE_HOME to a folder on a larger disk, or use --cache off"
        )
        raise BadRequest(f"--cache {'ram' if passing else 'disk'}: {_lack(wanted, free)} in {home}; {advice}")


def _caching(wanted: Wanted) -> str:
    return f"caching {len(wanted.files)} images, {_size(wanted.bytes)},"


def _lack(wanted: Wanted, free: int) -> str:
    return (
        f"{len(wanted.files)} images of {wanted.side} x {wanted.side} pixels take {_size(wanted.bytes)}, "
        f"{_size(free)} are free"
    )


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / 2**20:.1f} MiB"


def _digest(facts: Iterable[object]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for fact in facts:
        digest.update(repr(fact).encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()
