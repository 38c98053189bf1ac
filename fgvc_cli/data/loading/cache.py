"""Cache of decoded and resized images: in one memory-mapped file that all processes share, or on the GPU.

What is stored of an image is its resized form, rows × columns pixels before any random transform (`fit`): without the
black bars of `pad`, and for `crop` no more than a crop can reach. The images' pixels follow each other in one array;
where each begins follows from their sizes. The remaining transforms treat a stored image like a freshly decoded one, so
a run is the same with and without the cache. The file is in a folder whose name KEY is a digest of everything besides
the images' content that decides its pixels: the images' folder and names, fit and side, the rows cut off at the bottom,
the decoders' versions.

    KEY/pixels.npy      (P, 3) uint8: the P pixels of all resized images, image by image and row by row
    KEY/sizes.npy       (N, 2) int32: height and width of the images before resizing
    KEY/about.json      what it was made from, with a digest of every image's size in bytes and modification time, and
                        checksums of the other two files

A cache that is opened is checked: layout, size and checksum of each file. One that is wrong in any way is made anew.

`disk` stores the folder in fgvc's cache folder; `ram` stores it in shared memory until the last process that uses it
ends. `gpu` has the same array as a tensor: images of any shape lie in it without padding, and a batch of windows is
still one gather of fixed shape.
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
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import __version__ as pillow_version
from torch import Tensor

from fgvc_cli.data.catalog import cache_home
from fgvc_cli.data.images.read import ImageError, image_size, read_image
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
from fgvc_cli.data.loading.fit import fitted
from fgvc_cli.data.loading.transforms import resized, without_banner
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.machine.threads import cores, torch_threads
from fgvc_cli.spec.data import DataSpec, Fit

Progress = Callable[[str, int, int], object]  # what is being done, steps done, steps in total

_VERSION = 3  # increased whenever the layout of the files or the result of `resized` changes
_PIXELS, _SIZES = "pixels.npy", "sizes.npy"
_STEP = 64  # images
_GIB = 1 << 30


class PixelFile:
    """pixels.npy as a memory-mapped file: pages are read on first use and shared by all processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pixels: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)  # (P, 3)

    def __reduce__(self) -> tuple[type[PixelFile], tuple[Path]]:
        """A worker process that is not forked maps the file itself."""
        return PixelFile, (self.path,)


@dataclass(frozen=True)
class Shapes:
    """The sizes of N resized images, and where each begins in the array of all pixels."""

    sizes: NDArray[np.int32]  # (N, 2) height and width before resizing
    rows: NDArray[np.int64]  # (N,) after resizing
    columns: NDArray[np.int64]  # (N,)
    starts: NDArray[np.int64]  # (N,) pixels before each

    @classmethod
    def of(cls, sizes: NDArray[np.int32], spec: DataSpec) -> Shapes:
        """From the sizes before resizing."""
        found = [fitted(height, width, spec) for height, width in sizes.tolist()]
        rows, columns = (np.array([getattr(one, name) for one in found], np.int64) for name in ("rows", "columns"))
        return cls(sizes, rows, columns, np.cumsum(rows * columns) - rows * columns)

    @property
    def pixels(self) -> int:
        """P, of all images together."""
        return int((self.rows * self.columns).sum())

    def take(self, places: NDArray[np.int64]) -> Shapes:
        """Those of some images."""
        return Shapes(self.sizes[places], self.rows[places], self.columns[places], self.starts[places])


@dataclass(frozen=True)
class Cache:
    """N resized images of a dataset."""

    kept: PixelFile | Tensor  # a tensor: (P, 3) uint8 on a device
    shapes: Shapes
    files: tuple[str, ...]  # sorted
    claim: Claim | None = None

    def of(self, split: Split) -> SplitCache:
        """The resized images of a split."""
        row_of = {file: row for row, file in enumerate(self.files)}
        rows = np.array([row_of[file] for file in split.files], dtype=np.int64)
        return SplitCache(self.kept, self.shapes.take(rows), self.claim)


@dataclass(frozen=True)
class SplitCache:
    """The resized images of a split, by position in it."""

    kept: PixelFile | Tensor
    shapes: Shapes
    claim: Claim | None = None

    @property
    def on_device(self) -> bool:
        """Whether the images are in a tensor on a device, not in a file."""
        return isinstance(self.kept, Tensor)

    def image(self, position: int) -> NDArray[np.uint8]:
        """A resized image, (rows, columns, 3), in the memory-mapped file."""
        assert isinstance(self.kept, PixelFile)
        shapes = self.shapes
        start, rows, columns = (int(values[position]) for values in (shapes.starts, shapes.rows, shapes.columns))
        return self.kept.pixels[start : start + rows * columns].reshape(rows, columns, 3)

    def size(self, position: int) -> tuple[int, int]:
        """Height and width of an image before resizing."""
        height, width = self.shapes.sizes[position].tolist()
        return height, width


@dataclass(frozen=True)
class Wanted:
    """Which images the cache must hold, and how they are resized."""

    root: Path
    files: tuple[str, ...]  # sorted, each once
    cut_bottom: int
    spec: DataSpec

    @property
    def fit(self) -> Fit:
        """What becomes of images that are no squares."""
        return self.spec.fit

    @property
    def side(self) -> int:
        """Pixels that `fit` resizes to."""
        return self.spec.resize_side

    @property
    def max_pixels(self) -> int:
        """Of an image, at most."""
        return self.spec.max_pixels

    @classmethod
    def of(cls, index: DatasetIndex, spec: DataSpec) -> Wanted:
        """The images that every epoch reads: those of train and val, however they are divided into the two."""
        splits = [split for name, split in index.splits().items() if name != "test"]
        files = tuple(sorted({file for split in splits for file in split.files}))
        return cls(index.root, files, index.cut_bottom, spec)

    @cached_property
    def bytes(self) -> int:
        """Size of all resized images in bytes, known before any is decoded: where it depends on their shapes, from
        their headers. ImageError for an image that cannot be read.
        """
        if self.fit == "squash":
            return len(self.files) * self.side**2 * 3
        with ThreadPoolExecutor(cores()) as pool:
            sizes = np.array(list(pool.map(self._size, self.files)), np.int32)
        return Shapes.of(sizes, self.spec).pixels * 3

    def name(self) -> str:
        """The cache folder's name: the same for the same images in the same place, resized in the same way."""
        versions = (_VERSION, torch.__version__, torchvision.__version__, pillow_version)
        pixels = (self.fit, self.side, self.spec.interpolation, self.cut_bottom)
        return _digest((*versions, *pixels, os.fspath(self.root.resolve()), *self.files))

    def stamps(self) -> list[Stamp | None]:
        """Current size and modification time of each file."""
        return [stamp_of(self.root / file) for file in self.files]

    def read(self, file: str) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """A resized image, (rows, columns, 3), and its height and width before resizing."""
        with _advised():
            image = read_image(f"{self.root}/{file}", self.max_pixels)
        picture = without_banner(image, self.cut_bottom)
        height, width = picture.shape[1:]
        return resized(picture, fitted(height, width, self.spec)).permute(1, 2, 0).numpy(), (height, width)

    def _size(self, file: str) -> tuple[int, int]:
        """Height and width of an image before resizing, from its header."""
        with _advised():
            height, width = image_size(f"{self.root}/{file}", self.max_pixels)
        return max(1, height - self.cut_bottom), width


@contextlib.contextmanager
def _advised() -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{error}; put a readable image there, or leave it out with --on-bad-image skip") from None


def open_cache(
    index: DatasetIndex, spec: DataSpec, device: torch.device, progress: Progress | None = None
) -> Cache | None:
    """The cached images of train and val, made now if they do not exist yet. None if the spec's cache is off.

    Raises:
        BadRequest: there is too little room for them, or no GPU.
        ImageError: an image cannot be read.
        FgvcError: they cannot be written, or an image changes in the meantime.
    """
    if spec.cache == "off":
        return None
    wanted, report = Wanted.of(index, spec), progress or (lambda *_: None)
    if spec.cache == "gpu":
        return cache_on_device(wanted, device, report)
    passing = spec.cache == "ram"
    home = shared_memory() if passing else cache_home() / "resized"
    return cache_in_file(wanted, home / wanted.name(), report, passing=passing)


def cache_in_file(wanted: Wanted, folder: Path, progress: Progress, *, passing: bool = False) -> Cache:
    """The images in a folder. `passing`: the folder is removed when no process uses it any more."""

    def waiting() -> None:
        progress("waiting for another process that is caching these images", 0, 0)

    with _explained(folder, wanted), alone_with(folder, waiting):
        remove_abandoned(folder.parent, folder, whole=passing)
        stamps = wanted.stamps()
        if not _is_whole(folder, wanted, stamps):
            _enough_room(wanted, folder.parent, passing=passing)
            fill_folder(folder, lambda part: _write(part, wanted, stamps, progress))
        claim = Claim(folder) if passing else None
        sizes = np.load(folder / _SIZES, allow_pickle=False)
        shapes = Shapes.of(sizes, wanted.spec)
        return Cache(PixelFile(folder / _PIXELS), shapes, wanted.files, claim)


def cache_on_device(wanted: Wanted, device: torch.device, progress: Progress) -> Cache:
    """The images in one tensor on a device."""
    if device.type == "cpu":
        raise BadRequest("--cache gpu: this run computes on the CPU; use --cache ram or disk")
    if device.type == "cuda" and wanted.bytes > (free := torch.cuda.mem_get_info(device)[0]):
        raise BadRequest(f"--cache gpu: {_lack(wanted, free)} on the GPU; use --cache ram or disk")
    return decode_to(wanted, device, progress)


def decode_to(wanted: Wanted, device: torch.device, progress: Progress) -> Cache:
    """The images in one tensor on a device that has enough memory.

    FgvcError for an image whose header gives another size than it has: the tensor is as large as the headers say.
    """
    pixels = torch.empty((wanted.bytes // 3, 3), dtype=torch.uint8, device=device)
    sizes, end = np.empty((len(wanted.files), 2), dtype=np.int32), 0
    for row, (image, size) in enumerate(_decoded(wanted, f"{_caching(wanted)} on the GPU", progress)):
        start, end = end, end + image.shape[0] * image.shape[1]
        if end > len(pixels):
            break
        pixels[start:end].copy_(torch.from_numpy(np.ascontiguousarray(image)).view(-1, 3))
        sizes[row] = size
    if end != len(pixels):
        raise FgvcError("--cache gpu: an image's header gives another size than it has; use --cache ram or disk")
    return Cache(pixels, Shapes.of(sizes, wanted.spec), wanted.files)


def _decoded(wanted: Wanted, what: str, progress: Progress) -> Iterator[tuple[NDArray[np.uint8], tuple[int, int]]]:
    """Each resized image in order, decoded in threads, and its height and width before resizing."""
    parts = [wanted.files[start : start + _STEP] for start in range(0, len(wanted.files), _STEP)]
    progress(what, 0, len(parts))
    with torch_threads(1), ThreadPoolExecutor(cores()) as pool:
        for step, part in enumerate(parts, start=1):
            yield from pool.map(wanted.read, part)
            progress(what, step, len(parts))


def _is_whole(folder: Path, wanted: Wanted, stamps: list[Stamp | None]) -> bool:
    """Whether a folder holds exactly these images, unchanged since, and nothing in it is damaged."""
    about = read_facts(folder / "about.json")
    if about.get("images") != _digest(stamps) or about.get(_SIZES) != _checksum_of_sizes(folder, wanted):
        return False
    shapes = Shapes.of(np.load(folder / _SIZES, allow_pickle=False), wanted.spec)
    return about.get(_PIXELS) == _checksum_of_pixels(folder, shapes)


def _checksum_of_sizes(folder: Path, wanted: Wanted) -> str | None:
    return checksum_of(folder / _SIZES, "<i4", (len(wanted.files), 2))


def _checksum_of_pixels(folder: Path, shapes: Shapes) -> str | None:
    return checksum_of(folder / _PIXELS, "|u1", (shapes.pixels, 3))


def _write(folder: Path, wanted: Wanted, stamps: list[Stamp | None], progress: Progress) -> None:
    shapes = _write_pixels(folder / _PIXELS, wanted, progress)
    np.save(folder / _SIZES, shapes.sizes.astype("<i4"))
    for file, before, after in zip(wanted.files, stamps, wanted.stamps(), strict=True):
        if before != after:
            raise FgvcError(f"{wanted.root / file} changed while it was being cached: start again")
    about = {"root": str(wanted.root), "count": len(wanted.files), "fit": wanted.fit, "side": wanted.side}
    about |= {"images": _digest(stamps), _SIZES: _checksum_of_sizes(folder, wanted)}
    about[_PIXELS] = _checksum_of_pixels(folder, shapes)
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _write_pixels(path: Path, wanted: Wanted, progress: Progress) -> Shapes:
    """Write pixels.npy. It is not memory-mapped here: a full disk would end the process.

    The header is written anew at the end, for an image may have another size than its own header says.
    """
    sizes = np.empty((len(wanted.files), 2), dtype=np.int32)
    what = f"{_caching(wanted)} in {path.parents[1]}"
    with path.open("wb") as file:
        file.write(header_of("|u1", (wanted.bytes // 3, 3)))
        file.flush()
        reserve(file.fileno(), file.tell() + wanted.bytes)
        for row, (image, size) in enumerate(_decoded(wanted, what, progress)):
            file.write(np.ascontiguousarray(image).data)
            sizes[row] = size
        file.truncate()
        shapes = Shapes.of(sizes, wanted.spec)
        file.seek(0)
        file.write(header_of("|u1", (shapes.pixels, 3)))
    return shapes


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
    """BadRequest if the images do not fit; checked before any image is decoded."""
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
    most = {"squash": "", "crop": "at least ", "pad": "at most "}[wanted.fit]
    return (
        f"{len(wanted.files)} images of {most}{wanted.side} x {wanted.side} pixels take {_size(wanted.bytes)}, "
        f"{_size(free)} are free"
    )


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / 2**20:.1f} MiB"


def _digest(facts: Iterable[object]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for fact in facts:
        digest.update(repr(fact).encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()
