from __future__ import annotations

from pathlib import Path

import pytest

from fgvc_cli.data.datasets import load_index
from tests.data.datasets.refusals import change_lines, refused
from tests.data.small_archives import spec_of
from tests.data.trees import write_vegfru


def test_vegetables_count_from_0(tmp_path: Path) -> None:
    write_vegfru(tmp_path)
    index = load_index(spec_of("veg200", tmp_path))
    assert index.classes == ("Chinese artichoke", "dandelion", "winter melon")
    assert index.train.files[0] == "veg200_images/winter_melon/v_train 1.jpg"
    assert index.train.labels.tolist() == [2, 2, 1, 1, 0, 0]
    assert index.val is not None
    folders = ("winter_melon", "dandelion", "Chinese artichoke")
    assert index.val.files == tuple(f"veg200_images/{folder}/v_val 0.jpg" for folder in folders)
    assert index.test.labels.tolist() == [2, 2, 1, 1, 0, 0]
    assert not index.drawn


def test_fruits_count_from_1(tmp_path: Path) -> None:
    write_vegfru(tmp_path)
    index = load_index(spec_of("fru92", tmp_path))
    assert index.classes == ("dandelion", "Hami melon")
    assert index.train.labels.tolist() == [1, 1, 0, 0]


def test_all_together_vegetables_first(tmp_path: Path) -> None:
    write_vegfru(tmp_path)
    index = load_index(spec_of("vegfru", tmp_path))
    both = ("dandelion (vegetable)", "dandelion (fruit)")
    assert index.classes == ("Chinese artichoke", both[0], "winter melon", both[1], "Hami melon")
    assert index.train.labels.tolist() == [2, 2, 1, 1, 0, 0, 4, 4, 3, 3]
    assert index.train.files[-1] == "fru92_images/dandelion/v_train 0.jpg"
    assert index.val is not None
    assert index.val.labels.tolist() == [2, 1, 0, 4, 3]


def test_fewer_classes_keep_labels_without_gaps(tmp_path: Path) -> None:
    root = write_vegfru(tmp_path)
    for split in ("train", "val", "test"):
        path = root / "veg200_lists" / f"veg_{split}.txt"
        path.write_text("".join(line for line in path.read_text().splitlines(True) if "dandelion" not in line))
    index = load_index(spec_of("veg200", tmp_path))
    assert index.classes == ("Chinese artichoke", "winter melon")
    assert set(index.train.labels.tolist()) == {0, 1}
    assert "2 of 200 classes" in index.notes[0]


def test_without_validation_lists(tmp_path: Path) -> None:
    root = write_vegfru(tmp_path)
    (root / "fru92_lists" / "fru_val.txt").unlink()
    assert load_index(spec_of("vegfru", tmp_path)).val is None
    assert load_index(spec_of("veg200", tmp_path)).val is not None


def test_missing_images_name_their_list(tmp_path: Path) -> None:
    root = write_vegfru(tmp_path)
    (root / "veg200_images" / "dandelion" / "v_test 0.jpg").unlink()
    assert "listed in veg_test.txt and fru_test.txt" in load_index(spec_of("vegfru", tmp_path)).notes[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("winter_melon/x.jpg 1", ["veg_train.txt:2", "winter_melon is class 2 here, 1 before"]),
        ("radish/x.jpg 2", ["veg_train.txt:2", "class 2 is winter_melon here, radish before"]),
        ("radish/x.jpg", ["veg_train.txt:1", "class/file and a number"]),
        ("x.jpg 2", ["veg_train.txt:1", "class/file and a number"]),
        ("radish/x.jpg -1", ["veg_train.txt:1", "class/file and a number"]),
    ],
)
def test_contradictions_are_named(tmp_path: Path, line: str, words: list[str]) -> None:
    root = write_vegfru(tmp_path)
    change_lines(root / "veg200_lists" / "veg_train.txt", 1, line)
    message = refused("veg200", tmp_path)
    assert all(word in message for word in words), message


def test_half_of_it_is_not_all(tmp_path: Path) -> None:
    root = write_vegfru(tmp_path)
    (root / "fru92_lists" / "fru_train.txt").unlink()
    assert "fru_train.txt: cannot be read" in refused("vegfru", tmp_path)
