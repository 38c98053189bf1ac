from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.formats.own import natural_key
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import BadRequest
from tests.data.small_archives import spec_of, write_folder, write_image, write_lines


def load(root: Path, **values: object) -> DatasetIndex:
    return load_index(spec_of("folder", root, **values))


def refused(root: Path | None) -> str:
    with pytest.raises(BadRequest) as caught:
        load_index(spec_of("folder", root))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def counts(index: DatasetIndex) -> tuple[int, int, int]:
    return len(index.train), 0 if index.val is None else len(index.val), len(index.test)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_three_splits(tmp_path: Path, val: str) -> None:
    write_folder(tmp_path, {"train/a": 3, "train/b": 2, f"{val}/b": 1, "test/a": 2, "test/b": 1})
    index = load(tmp_path)
    assert counts(index) == (5, 1, 3)
    assert index.classes == ("a", "b")
    assert index.val is not None
    assert index.val.labels.tolist() == [1]
    assert index.val.files == (f"{val}/b/0.png",)
    assert not index.drawn
    assert index.notes == ()


def test_own_validation_goes_before_val_fraction(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 3, "train/b": 2, "val/b": 1, "test/a": 2})
    assert any("val_fraction" in note for note in load(tmp_path, val_fraction=0.5).notes)


def test_train_and_test(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 3, "train/b": 2, "test/a": 2, "unlabelled/x": 4})
    index = load(tmp_path)
    assert counts(index) == (5, 0, 2)
    assert "unlabelled" in index.notes[0]


def test_validation_stands_in_for_test(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 3, "train/b": 2, "valid/a": 2})
    index = load(tmp_path)
    assert counts(index) == (5, 0, 2)
    assert "validation folder is the test split" in index.notes[0]
    assert not index.drawn


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_one_folder_is_split_by_class_and_seed(tmp_path: Path, prefix: str) -> None:
    write_folder(tmp_path, {f"{prefix}a": 10, f"{prefix}b": 5, f"{prefix}c": 2})
    index = load(tmp_path, test_fraction=0.3)
    assert index.drawn
    assert np.bincount(index.test.labels).tolist() == [3, 2, 1]
    assert np.bincount(index.train.labels).tolist() == [7, 3, 1]
    assert not set(index.train.files) & set(index.test.files)
    assert load(tmp_path, test_fraction=0.3).test.files == index.test.files
    assert load(tmp_path, test_fraction=0.3, split_seed=5).test.files != index.test.files
    assert "held out" in index.notes[0]


def test_lonely_images_are_trained_on(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 4, "b": 1})
    index = load(tmp_path)
    assert np.bincount(index.train.labels).tolist() == [3, 1]
    assert any("one image only" in note for note in index.notes)
    only = write_folder(tmp_path / "only", {"a": 1, "b": 1})
    assert "left for testing" in refused(only)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_folder(tmp_path, {"bus": 3, "train": 3, "tram": 3})
    index = load(tmp_path)
    assert index.classes == ("bus", "train", "tram")
    assert counts(index) == (6, 0, 3)


def test_natural_order() -> None:
    names = ["class 10", "class 2", "Alder", "beech", "1", "class 02", "", "10a"]
    assert sorted(names, key=natural_key) == ["", "1", "10a", "Alder", "beech", "class 02", "class 2", "class 10"]


def test_nested_images_and_what_is_ignored(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b/2021/may": 2, "b/2022": 1, ".git/x": 3, "__MACOSX/a": 1, "a/.cache": 1})
    write_image(tmp_path / "a" / "._0.png")
    write_lines(tmp_path / "a" / "labels.csv", "x")
    write_lines(tmp_path / "readme.txt", "x")
    (tmp_path / "b" / "round").symlink_to(tmp_path / "b")
    index = load(tmp_path)
    assert index.classes == ("a", "b")
    assert sorted(index.train.files + index.test.files) == [
        "a/0.png",
        "a/1.png",
        "b/2021/may/0.png",
        "b/2021/may/1.png",
        "b/2022/0.png",
    ]
    assert any("1 file that is no image" in note and "labels.csv" in note for note in index.notes)
    assert any("a linked folder is passed over" in note and "b/round" in note for note in index.notes)


def test_linked_class_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "store", {"x": 3, "y": 3})
    (tmp_path / "set").mkdir()
    for name in ("x", "y"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "store" / name)
    assert counts(load(tmp_path / "set")) == (4, 0, 2)


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ({}, "no folders"),
        ({"a": 3}, "a classifier needs at least two"),
        ({"a": 3, "b": 0}, "'b' holds no images"),
        ({"train/a": 3, "train/b": 1, "test/c": 1}, "'c' is in the test folder"),
        ({"train/a": 3, "train/b": 1, "val/d": 1, "test/a": 1}, "'d' is in the val folder"),
        ({"train/a": 3, "train/b": 1, "test": 2}, "test folder holds no images in class folders"),
        ({"train": 0, "test/a": 2}, "0 class folder"),
        ({"train/a": 2, "train/b": 2, "val/a": 1, "valid/a": 1}, "two folders for the val split"),
    ],
)
def test_folders_that_cannot_be_trained_on(tmp_path: Path, folders: dict[str, int], words: str) -> None:
    message = refused(write_folder(tmp_path, folders))
    assert words in message, message


def test_root_must_be_given_and_be_a_folder(tmp_path: Path) -> None:
    assert "--data-dir" in refused(None)
    assert "does not exist" in refused(tmp_path / "none")
    write_lines(tmp_path / "file", "x")
    assert "is not a folder" in refused(tmp_path / "file")


def test_index_of_many_images_is_built_fast(tmp_path: Path) -> None:
    for label in range(50):
        folder = tmp_path / f"c{label}"
        folder.mkdir()
        for i in range(200):
            (folder / f"{i}.jpg").touch()
    start = time.process_time()
    index = load(tmp_path)
    assert time.process_time() - start < 2
    assert counts(index) == (8000, 0, 2000)
