"""Images that are in two splits. A model tested on its training images looks better than it is. Such images are
reported, never removed.

Identical images have the same bytes. Nearly identical images have difference hashes that differ in at most `NEAR_BITS`
bits. A difference hash is 64 bits that say where the image gets brighter from left to right on a grid of 9 x 8. It
hardly changes with scaling, another file format or stronger compression; docs/datasets.md shows what it finds.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fgvc_cli.data.images.read import ImageError, open_image, reason, to_rgb
from fgvc_cli.data.images.survey import Progress, survey
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.files import open_regular
from fgvc_cli.spec.data import MAX_PIXELS

Codes = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Partners = NDArray[np.int64]  # (images, splits)

NEAR_BITS = 4
NEAR_UP_TO, EXACT_UP_TO = 20_000, 200_000  # with mode `auto`: the largest number of images for near, for exact
_FLAT = 8  # grey levels between the darkest and the brightest cell; an image with less is too uniform to compare
_BITS_OF = np.array([bin(word).count("1") for word in range(1 << 16)], dtype=np.uint8)


@dataclass(frozen=True)
class _Pool:
    """All images of an index, split after split."""

    names: tuple[str, ...]  # names of the splits
    split: Codes  # (N,) position in `names`
    files: tuple[str, ...]
    labels: Codes  # (N,)


def duplicate_notes(
    index: DatasetIndex, mode: str, progress: Progress | None = None, *, max_pixels: int = MAX_PIXELS
) -> tuple[str, ...]:
    """Notes about images that are in two splits.

    `mode`: off, exact, near, or auto, which chooses one of the three by the number of images. Unreadable images and
    images with more than max_pixels are ignored. The demo data set is not checked: fgvc draws it without duplicates.
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
    notes = _notes(pool, same, "the same as", "=")
    if mode == "near":
        near = _near_partners(index.root, pool, max_pixels, progress)
        notes += _notes(pool, np.where(same >= 0, -1, near), "nearly the same as", "~")
    return notes


# ---- identical images


def _codes_of_bytes(root: Path, pool: _Pool, progress: Progress | None) -> Codes:
    """A code for each file, (N,): files with the same bytes share it. -1 where no other file has the same size."""
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
        with open_regular(path) as stream:
            return hashlib.blake2b(stream.read(), digest_size=16).hexdigest()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None


# ---- nearly identical images


def difference_hash(path: Path, max_pixels: int = MAX_PIXELS) -> str:
    """The hash of the upright image as 16 hexadecimal digits; empty for an image of nearly uniform colour.

    ImageError if the image cannot be read or has more than max_pixels. A JPEG is decoded at an eighth of its size if
    that is large enough.
    """
    try:
        with open_regular(path) as stream, open_image(stream, max_pixels) as image:
            image.draft("L", (72, 64))
            upright = ImageOps.exif_transpose(image) or image
            grey = upright if upright.mode == "L" else to_rgb(upright).convert("L")
            small = grey.resize((32, 32), Image.Resampling.BILINEAR).resize((9, 8), Image.Resampling.BOX)
            levels = np.asarray(small, dtype=np.int64)
    except Exception as error:  # Pillow's decoders raise exceptions of many kinds
        raise ImageError(f"{path}: {reason(error)}") from None
    if np.ptp(levels) < _FLAT:
        return ""
    return np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes().hex()


def relabelled_copies(
    root: Path, files: Sequence[str], labels: Codes, progress: Progress | None = None, *, max_pixels: int = MAX_PIXELS
) -> dict[int, int]:
    """Image → an image that is nearly the same and has another label, as positions in `files`.

    Args:
        root: the files' folder.
        files: N paths relative to it.
        labels: (N,).
        progress: called during slow work.
        max_pixels: images with more are ignored, as are unreadable ones.
    """
    codes, first, second = _near_codes(root, files, max_pixels, progress)
    members: dict[int, list[int]] = {}
    for place in np.flatnonzero(codes >= 0).tolist():
        members.setdefault(int(codes[place]), []).append(place)
    groups = [
        *members.values(),
        *([*members[a], *members[b]] for a, b in zip(first.tolist(), second.tolist(), strict=True)),
    ]
    found: dict[int, int] = {}
    for group in groups:
        for one in group:
            other = next((place for place in group if labels[place] != labels[one]), None)
            if other is not None:
                found.setdefault(one, other)
    return found


def near_pairs(hashes: Hashes, bits: int = NEAR_BITS) -> tuple[Codes, Codes]:
    """Positions a < b of all pairs of hashes that differ in at most `bits` bits. The hashes, (U,), are all different.

    If hashes are cut into bits + 1 bands, two such hashes agree in at least one band. Only pairs that agree in a band
    are compared.
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
    """Positions of all pairs of equal values in a sorted array, first those 1 apart, then 2 apart, and so on."""
    first = np.arange(len(values))
    for gap in range(1, len(values)):
        first = first[first + gap < len(values)]
        first = first[values[first] == values[first + gap]]
        if not len(first):
            return
        yield first, first + gap


def _distance(a: Hashes, b: Hashes) -> NDArray[np.int64]:
    """The number of bits that differ in each pair, (P,)."""
    bits: Codes = _BITS_OF[(a ^ b).view(np.uint16)].reshape(-1, 4).sum(axis=1, dtype=np.int64)
    return bits


def _near_partners(root: Path, pool: _Pool, max_pixels: int, progress: Progress | None) -> Partners:
    return _partners(pool, *_near_codes(root, pool.files, max_pixels, progress))


def _near_codes(
    root: Path, files: Sequence[str], max_pixels: int, progress: Progress | None
) -> tuple[Codes, Codes, Codes]:
    """A code (N,) for each file, -1 for none, equal ones sharing it; and (P,) codes of pairs that are nearly alike."""
    words = survey("looking for copies", root, files, partial(difference_hash, max_pixels=max_pixels), progress)
    chosen = np.array([i for i, word in enumerate(words) if isinstance(word, str) and word], dtype=np.int64)
    values = np.array([int(str(words[i]), 16) for i in chosen], dtype=np.uint64)
    hashes, inverse = np.unique(values, return_inverse=True)
    codes = np.full(len(files), -1, dtype=np.int64)
    codes[chosen] = inverse
    first, second = near_pairs(hashes)
    return codes, first, second


# ---- shared by both


def _partners(pool: _Pool, codes: Codes, first: Codes, second: Codes) -> Partners:
    """For each image and each earlier split, an image of that split that has the same code or a paired code.

    Args:
        pool: N images.
        codes: (N,) the images' codes, -1 for none.
        first: (P,) first codes of the pairs; the codes of a pair differ but count as the same.
        second: (P,) second codes of the pairs.

    Returns:
        (N, splits) positions of images in the pool, -1 for none.
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


def _notes(pool: _Pool, partners: Partners, what: str, sign: str) -> tuple[str, ...]:
    """One note for each pair of splits that share images."""
    notes = []
    for later, early in itertools.combinations(reversed(range(len(pool.names))), 2):
        images = np.flatnonzero((pool.split == later) & (partners[:, early] >= 0))
        if not len(images):
            continue
        others = partners[images, early]
        relabelled = int((pool.labels[images] != pool.labels[others]).sum())
        many = f"{len(images)} images of {pool.names[later]} are {what} ones of {pool.names[early]}"
        one = f"1 image of {pool.names[later]} is {what} one of {pool.names[early]}"
        note = one if len(images) == 1 else many
        note += f" (first: {pool.files[images[0]]} {sign} {pool.files[others[0]]})"
        notes.append(note + (f", {relabelled} of them in another class" if relabelled else ""))
    return tuple(notes)
