from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.splits import apply_record, apply_spec, limit, split_record, stratified_holdout
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from tests.data.small_archives import spec_of, write_folder, write_image

labels_of = st.lists(st.integers(1, 30), min_size=1, max_size=12).flatmap(
    lambda counts: st.permutations(np.repeat(np.arange(len(counts)), counts).tolist())
)


def split_of(labels: list[int]) -> Split:
    count = len(labels)
    boxes = np.arange(count * 4, dtype=np.float32).reshape(count, 4)
    return Split(tuple(f"{i}.jpg" for i in range(count)), np.array(labels, dtype=np.int64), boxes)


@settings(max_examples=100, deadline=None)
@given(labels_of, st.floats(0.01, 0.99), st.integers(0, 2**40))
def test_holdout_is_stratified(labels: list[int], fraction: float, seed: int) -> None:
    array = np.array(labels, dtype=np.int64)
    kept, held = stratified_holdout(array, fraction, seed)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert list(kept) == sorted(kept)
    assert list(held) == sorted(held)
    total = np.bincount(array)
    out = np.bincount(array[held], minlength=len(total))
    assert (total - out >= 1).all()
    for n, k in zip(total, out, strict=True):
        assert k == (0 if n == 1 else min(max(int(n * fraction + 0.5), 1), n - 1))
    again = stratified_holdout(array, fraction, seed)
    assert np.array_equal(again[0], kept)
    assert np.array_equal(again[1], held)


def test_holdout_is_the_same_everywhere_and_depends_on_the_seed() -> None:
    labels = np.arange(20) % 2
    assert list(stratified_holdout(labels, 0.25, 0)[1]) == HELD_OF_SEED_0
    assert len({tuple(stratified_holdout(labels, 0.25, seed)[1]) for seed in range(10)}) > 5


HELD_OF_SEED_0 = [6, 9, 12, 15, 16, 19]


@settings(max_examples=100, deadline=None)
@given(labels_of, st.integers(1, 200), st.integers(0, 2**40))
def test_limit_spreads_over_classes(labels: list[int], count: int, seed: int) -> None:
    whole = split_of(labels)
    part = limit(whole, count, seed)
    assert len(part) == min(count, len(whole))
    positions = [int(file[:-4]) for file in part.files]
    assert positions == sorted(set(positions))
    assert part.boxes is not None
    assert whole.boxes is not None
    assert np.array_equal(part.boxes, whole.boxes[positions])
    total, taken = np.bincount(whole.labels), np.bincount(part.labels, minlength=max(labels) + 1)
    rest = [int(k) for n, k in zip(total, taken, strict=True) if k < n]
    if rest:  # classes that have more to give differ by one at most, and none of them trails a used-up one
        assert max(taken) - min(rest) <= 1
    assert limit(part, count, seed) == part
    assert limit(whole, count, seed).files == part.files


def index_of(count: int = 40, classes: int = 4) -> DatasetIndex:
    test = Split(tuple(f"test/{i}.jpg" for i in range(10)), np.arange(10) % classes)
    names = tuple(f"c{i}" for i in range(classes))
    return DatasetIndex("cub", Path("/data"), names, split_of([i % classes for i in range(count)]), test)


def test_validation_is_held_out_before_limits() -> None:
    spec = spec_of("cub", val_fraction=0.2)
    index = apply_spec(index_of(), spec)
    assert index.val is not None
    assert (len(index.train), len(index.val), len(index.test)) == (32, 8, 10)
    assert index.drawn
    assert not set(index.train.files) & set(index.val.files)
    limited = apply_spec(index_of(), spec_of("cub", val_fraction=0.2, limit_train=6, limit_test=4))
    assert limited.val is not None
    assert limited.val.files == index.val.files
    assert (len(limited.train), len(limited.test), len(limited.classes)) == (6, 4, 4)
    assert set(limited.train.files) <= set(index.train.files)


def test_nothing_asked_nothing_drawn() -> None:
    index = apply_spec(index_of(), spec_of("cub"))
    assert index.val is None
    assert not index.drawn
    assert len(index.train) == 40


def test_applying_twice_is_applying_once() -> None:
    spec = spec_of("cub", val_fraction=0.3, limit_train=9, limit_test=5)
    once = apply_spec(index_of(), spec)
    assert split_record(apply_spec(once, spec)) == split_record(once)


def test_validation_of_lonely_images_is_refused() -> None:
    with pytest.raises(BadRequest, match="val_fraction"):
        apply_spec(index_of(4, 4), spec_of("cub", val_fraction=0.5))


def record_of(index: DatasetIndex) -> dict[str, object]:
    record = json.loads(json.dumps(split_record(index)))
    assert isinstance(record, dict)
    return record


def test_record_keeps_splits_labels_and_boxes() -> None:
    index = apply_spec(index_of(), spec_of("cub", val_fraction=0.2, limit_train=20))
    again = apply_record(index_of(), record_of(index))
    for name in ("train", "val"):
        old, new = index.split(name), again.split(name)
        assert old.files == new.files
        assert np.array_equal(old.labels, new.labels)
    assert again.test.files == index.test.files
    assert again.drawn
    assert any("not used" in note for note in again.notes)


def test_files_added_later_change_nothing(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 10, "b": 8, "d": 9})
    spec = spec_of("folder", tmp_path, val_fraction=0.2)
    index = apply_spec(load_index(spec), spec)
    record = record_of(index)
    write_image(tmp_path / "a" / "00new.png")
    write_folder(tmp_path, {"c": 7})  # a class between the others: labels must not move
    drawn_again = apply_spec(load_index(spec), spec)
    assert drawn_again.classes != index.classes
    kept = apply_record(load_index(spec), record)
    assert kept.classes == index.classes
    for name in ("train", "val", "test"):
        assert kept.split(name).files == index.split(name).files
        assert np.array_equal(kept.split(name).labels, index.split(name).labels)
    assert any(note.startswith("8 images") for note in kept.notes)


def test_lost_file_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 5, "b": 5})
    index = load_index(spec_of("folder", tmp_path))
    lost = index.test.files[0]
    record = record_of(index)
    (tmp_path / lost).unlink()
    with pytest.raises(BadRequest, match=lost):
        apply_record(load_index(spec_of("folder", tmp_path)), record)


def test_class_that_the_run_does_not_know(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 3, "train/b": 3, "test/a": 2, "test/b": 2})
    index = load_index(spec_of("folder", tmp_path))
    record = record_of(index)
    record["classes"] = ["a", "z"]
    with pytest.raises(BadRequest, match="not one of the run's classes"):
        apply_record(index, record)
