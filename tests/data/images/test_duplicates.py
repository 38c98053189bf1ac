from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.images import duplicates
from fgvc_cli.data.images.duplicates import difference_hash, duplicate_notes, near_pairs
from fgvc_cli.data.images.read import ImageError
from fgvc_cli.data.types import DatasetIndex, Split
from tests.data.small_archives import spec_of


def picture(seed: int, side: int = 240) -> Image.Image:
    """A smooth random picture: what photographs look like to a hash."""
    coarse = np.random.RandomState(seed).randint(0, 256, (7, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((side * 4 // 3, side), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of two classes in train, val and test, no two alike."""
    seeds = itertools.count()
    for split, count in (("train", 3), ("val", 2), ("test", 2)):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                picture(next(seeds)).save(tmp_path / split / name / f"{i}.jpg", quality=90)
    return tmp_path


def notes(root: Path, mode: str = "near") -> tuple[str, ...]:
    return duplicate_notes(load_index(spec_of("folder", root)), mode)


def test_different_pictures_are_not_reported(photos: Path) -> None:
    assert notes(photos) == ()


def test_the_same_file_in_two_splits(photos: Path) -> None:
    shutil.copy(photos / "train/a/1.jpg", photos / "test/a/copy.jpg")
    expected = "1 image of test is the same as one of train (first: test/a/copy.jpg = train/a/1.jpg)"
    for mode in ("exact", "near", "auto"):
        assert notes(photos, mode) == (expected,)
    assert notes(photos, "off") == ()
    shutil.copy(photos / "train/a/1.jpg", photos / "test/b/copy.jpg")
    shutil.copy(photos / "val/b/0.jpg", photos / "test/b/too.jpg")
    assert notes(photos) == (
        "1 image of test is the same as one of val (first: test/b/too.jpg = val/b/0.jpg)",
        "2 images of test are the same as ones of train (first: test/a/copy.jpg = train/a/1.jpg), "
        "1 of them in another class",
    )


def test_copies_within_a_split_are_nobodys_business(photos: Path) -> None:
    shutil.copy(photos / "train/a/1.jpg", photos / "train/a/copy.jpg")
    assert notes(photos) == ()


def test_files_of_one_size_are_not_the_same(photos: Path) -> None:
    for split in ("train", "test"):
        Image.fromarray(np.full((30, 30, 3), len(split), np.uint8)).save(photos / split / "a" / "flat.bmp")
    assert notes(photos) == ()  # and pictures of one colour have no likeness to compare


def variants(tmp_path: Path) -> dict[str, Path]:
    """The same picture, saved in other ways."""
    original = picture(77, 360)
    exif = Image.Exif()
    exif[0x0112] = 6
    saved = {
        "again.jpg": (original, {"quality": 60}),
        "half.jpg": (original.resize((240, 180)), {"quality": 85}),
        "large.jpg": (original.resize((1200, 900)), {"quality": 95}),
        "a.png": (original, {}),
        "a.webp": (original, {}),
        "grey.jpg": (original.convert("L"), {}),
        "trimmed.jpg": (original.crop((4, 4, 472, 354)), {"quality": 90}),
        "turned.jpg": (original.transpose(Image.Transpose.ROTATE_90), {"exif": exif, "quality": 90}),
        "brighter.png": (original.point(lambda level: level * 0.9 + 20), {}),
    }
    for name, (image, options) in saved.items():
        image.save(tmp_path / name, **options)
    original.save(tmp_path / "original.jpg", quality=95)
    return {name: tmp_path / name for name in ("original.jpg", *saved)}


def test_the_hash_survives_what_is_done_to_copies(tmp_path: Path) -> None:
    hashes = {name: int(difference_hash(path), 16) for name, path in variants(tmp_path).items()}
    for name, value in hashes.items():
        assert (value ^ hashes["original.jpg"]).bit_count() <= duplicates.NEAR_BITS, name
    picture(78).save(tmp_path / "other.jpg")
    assert (int(difference_hash(tmp_path / "other.jpg"), 16) ^ hashes["original.jpg"]).bit_count() > 12


def test_nearly_the_same_picture_in_two_splits(photos: Path) -> None:
    with Image.open(photos / "train/b/2.jpg") as image:
        image.resize((200, 150)).save(photos / "test/b/small.png")
    assert notes(photos, "exact") == ()
    expected = "1 image of test is nearly the same as one of train (first: test/b/small.png ~ train/b/2.jpg)"
    assert notes(photos) == (expected,)
    shutil.copy(photos / "train/b/2.jpg", photos / "test/b/same.jpg")
    assert notes(photos) == (  # what is identical is not told twice
        "1 image of test is the same as one of train (first: test/b/same.jpg = train/b/2.jpg)",
        expected,
    )


def test_images_that_cannot_be_read_are_passed_over(photos: Path) -> None:
    (photos / "train/a/0.jpg").write_bytes(b"text")
    (photos / "test/a/0.jpg").write_bytes(b"")
    (photos / "test/a/1.jpg").write_bytes(b"")
    assert notes(photos) == ()
    with pytest.raises(ImageError):
        difference_hash(photos / "train/a/0.jpg")


def test_auto_goes_by_the_number_of_images(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Image.open(photos / "train/b/2.jpg") as image:
        image.save(photos / "test/b/near.png")
    shutil.copy(photos / "train/b/2.jpg", photos / "test/b/same.jpg")
    assert len(notes(photos, "auto")) == 2
    monkeypatch.setattr(duplicates, "NEAR_UP_TO", 5)
    assert len(notes(photos, "auto")) == 1
    monkeypatch.setattr(duplicates, "EXACT_UP_TO", 5)
    assert notes(photos, "auto") == ()
    assert len(notes(photos, "near")) == 2


def test_the_demo_is_not_looked_at(tmp_path: Path) -> None:
    nothing = Split(("gone.png",), np.array([0]))
    assert duplicate_notes(DatasetIndex("demo", tmp_path, ("a", "b"), nothing, nothing), "near") == ()


# ---- the search


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(0, 8))
def test_all_near_pairs_are_found(seed: int, count: int, bits: int) -> None:
    dice = np.random.RandomState(seed)
    bases = dice.randint(0, 2**63, count // 4 + 1, dtype=np.int64).astype(np.uint64)
    flips = (dice.random_sample((count, 64)) < dice.choice([0.02, 0.08, 0.5])) @ (2 ** np.arange(64, dtype=np.uint64))
    hashes = np.unique(bases[dice.randint(0, len(bases), count)] ^ flips.astype(np.uint64))
    numbers = [int(value) for value in hashes]
    expected = {
        (a, b)
        for a, b in itertools.combinations(range(len(numbers)), 2)
        if (numbers[a] ^ numbers[b]).bit_count() <= bits
    }
    first, second = near_pairs(hashes, bits)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == sorted(expected)


def test_the_search_is_fast_among_hashes_that_are_alike() -> None:
    dice = np.random.RandomState(0)
    skewed = (dice.random_sample((10_000, 64)) < dice.choice([0.05, 0.95, 0.5], 64)).astype(np.uint64)
    hashes = np.unique(skewed @ (2 ** np.arange(64, dtype=np.uint64)))
    start = time.process_time()
    near_pairs(hashes)
    assert time.process_time() - start < 10


@pytest.mark.realdata
def test_copies_among_photographs(realdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cars = duplicate_notes(load_index(spec_of("cars", realdata)), "near")
    assert "cars_test/00296.jpg = cars_train/00778.jpg" in cars[0]
    assert "cars_test/00568.jpg ~ cars_train/02296.jpg" in cars[1]
