"""Images that are in two splits: a model tested on what it was trained on looks better than it is. They are reported,
never dropped.

Identical: the same bytes. Nearly identical: a difference hash, 64 bits that say where the picture gets brighter from
left to right on a grid of 9 x 8, differs in at most `NEAR_BITS`. It survives scaling, another format and stronger
compression; see docs/datasets.md for what it finds.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fgvc_cli.data.images.read import ImageError, open_image, to_rgb
from fgvc_cli.data.images.survey import Progress, survey
from fgvc_cli.data.types import DatasetIndex

Codes = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Partners = NDArray[np.int64]  # (images, splits)

NEAR_BITS = 4
NEAR_UP_TO, EXACT_UP_TO = 20_000, 200_000  # images for which `auto` looks
_FLAT = 8  # grey levels between the darkest and the brightest field: less has no picture to compare
_BITS_OF = np.array([bin(word).count("1") for word in range(1 << 16)], dtype=np.uint8)


@dataclass(frozen=True)
class _Pool:
    """All images of an index, split after split."""

    names: tuple[str, ...]  # of the splits
    split: Codes  # (N,) place in `names`
    files: tuple[str, ...]
    labels: Codes  # (N,)


def duplicate_notes(index: DatasetIndex, mode: str, progress: Progress | None = None) -> tuple[str, ...]:
    """What to tell about images in two splits. `mode`: off, exact, near, or auto, which goes by the number of images.

    Images that cannot be read are passed over; the demo, which fgvc draws itself, has none.
    """
    splits = index.splits()
    images = sum(map(len, splits.values()))
    if mode == "auto":
        mode = "near" if images <= NEAR_UP_TO else "exact" if images <= EXACT_UP_TO else "off"
    if mode == "off" or index.name == "demo":
        return ()
    pool = _Pool(
        names=tuple(splits),
        split=np.repeat(np.arange(len(splits)), [len(split) for split in splits.values()]),
        files=tuple(file for split in splits.values() for file in split.files),
        labels=np.concatenate([split.labels for split in splits.values()]),
    )
    nothing = np.empty(0, dtype=np.int64)
    same = _partners(pool, _codes_of_bytes(index.root, pool, progress), nothing, nothing)
    notes = _told(pool, same, "the same as", "=")
    if mode == "near":
        near = _near_partners(index.root, pool, progress)
        notes += _told(pool, np.where(same >= 0, -1, near), "nearly the same as", "~")
    return notes


# ---- identical


def _codes_of_bytes(root: Path, pool: _Pool, progress: Progress | None) -> Codes:
    """A number for each file (N,) that only files of the same bytes share; -1 where no other file has its size."""
    sizes = [_size(root / file) for file in pool.files]
    times = Counter(sizes)
    chosen = [i for i, size in enumerate(sizes) if size and times[size] > 1]
    digests = survey("comparing files", root, [pool.files[i] for i in chosen], _digest, progress)
    codes = np.full(len(pool.files), -1, dtype=np.int64)
    number: dict[str, int] = {}
    for i, digest in zip(chosen, digests, strict=True):
        if isinstance(digest, str):
            codes[i] = number.setdefault(digest, len(number))
    return codes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _digest(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None


# ---- nearly identical


def difference_hash(path: Path) -> str:
    """The hash of the upright picture as 16 hexadecimal digits, empty for a picture of one colour.

    ImageError if it cannot be read. A JPEG is decoded at an eighth of its size where that is enough.
    """
    try:
        with path.open("rb") as stream, open_image(stream) as image:
            image.draft("L", (72, 64))
            upright = ImageOps.exif_transpose(image) or image
            grey = upright if upright.mode == "L" else to_rgb(upright).convert("L")
            small = grey.resize((32, 32), Image.Resampling.BILINEAR).resize((9, 8), Image.Resampling.BOX)
            levels = np.asarray(small, dtype=np.int64)
    except Exception as error:  # Pillow's decoders raise anything
        raise ImageError(f"{path}: {error}") from None
    if np.ptp(levels) < _FLAT:
        return ""
    return np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes().hex()


def near_pairs(hashes: Hashes, bits: int = NEAR_BITS) -> tuple[Codes, Codes]:
    """Positions a < b of all pairs of hashes (U,), each there once, that differ in `bits` bits at most.

    Cut into bits + 1 bands, two such hashes agree in one band at least: only those that do are compared.
    """
    edges = np.linspace(0, 64, bits + 2).astype(int)
    found = [np.empty((0, 2), dtype=np.int64)]
    for low, high in itertools.pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        for first, second in _pairs_of_equals(band[order]):
            pairs = np.sort(np.stack([order[first], order[second]], axis=1), axis=1)
            found.append(pairs[_distance(hashes[pairs[:, 0]], hashes[pairs[:, 1]]) <= bits])
    unique = np.unique(np.concatenate(found), axis=0)
    return unique[:, 0], unique[:, 1]


def _pairs_of_equals(values: Hashes) -> Iterator[tuple[Codes, Codes]]:
    """Positions of all pairs of equal values in a sorted array, by their distance in it: 1 first."""
    first = np.arange(len(values))
    for gap in range(1, len(values)):
        first = first[first + gap < len(values)]
        first = first[values[first] == values[first + gap]]
        if not len(first):
            return
        yield first, first + gap


def _distance(a: Hashes, b: Hashes) -> NDArray[np.int64]:
    """How many bits differ, pair by pair: (P,)."""
    bits: Codes = _BITS_OF[(a ^ b).view(np.uint16)].reshape(-1, 4).sum(axis=1, dtype=np.int64)
    return bits


def _near_partners(root: Path, pool: _Pool, progress: Progress | None) -> Partners:
    words = survey("looking for copies", root, pool.files, difference_hash, progress)
    chosen = np.array([i for i, word in enumerate(words) if isinstance(word, str) and word], dtype=np.int64)
    values = np.array([int(str(words[i]), 16) for i in chosen], dtype=np.uint64)
    hashes, inverse = np.unique(values, return_inverse=True)
    codes = np.full(len(pool.files), -1, dtype=np.int64)
    codes[chosen] = inverse
    first, second = near_pairs(hashes)
    return _partners(pool, codes, first, second)


# ---- what both share


def _partners(pool: _Pool, codes: Codes, first: Codes, second: Codes) -> Partners:
    """For each image and each split before its own, an image there whose code is the same or one of a pair with it.

    Codes (N,), -1 for none; first, second (P,): pairs of different codes that count as the same. (N, splits), -1: none.
    """
    count = int(codes.max(initial=-1)) + 1
    partners = np.full((len(codes), len(pool.names)), -1, dtype=np.int64)
    for split in range(len(pool.names)):
        members = np.flatnonzero((pool.split == split) & (codes >= 0))[::-1]
        own = np.full(count, -1, dtype=np.int64)
        own[codes[members]] = members  # the first in the split's order wins
        reached = np.full(count, -1, dtype=np.int64)
        np.maximum.at(reached, first, own[second])
        np.maximum.at(reached, second, own[first])
        reached = np.where(own >= 0, own, reached)
        later = np.flatnonzero((pool.split > split) & (codes >= 0))
        partners[later, split] = reached[codes[later]]
    return partners


def _told(pool: _Pool, partners: Partners, what: str, sign: str) -> tuple[str, ...]:
    """A note for each two splits that share images."""
    notes = []
    for later, early in itertools.combinations(reversed(range(len(pool.names))), 2):
        images = np.flatnonzero((pool.split == later) & (partners[:, early] >= 0))
        if not len(images):
            continue
        others = partners[images, early]
        strange = int((pool.labels[images] != pool.labels[others]).sum())
        many = f"{len(images)} images of {pool.names[later]} are {what} ones of {pool.names[early]}"
        one = f"1 image of {pool.names[later]} is {what} one of {pool.names[early]}"
        note = one if len(images) == 1 else many
        note += f" (first: {pool.files[images[0]]} {sign} {pool.files[others[0]]})"
        notes.append(note + (f", {strange} of them in another class" if strange else ""))
    return tuple(notes)
