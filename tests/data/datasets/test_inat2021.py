from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fgvc_cli.data.datasets import load_index
from tests.data.datasets.refusals import refused
from tests.data.small_archives import spec_of
from tests.data.trees import write_inat


@pytest.mark.parametrize("train", ["train", "train_mini"])
def test_labels_follow_the_numbers_of_categories(tmp_path: Path, train: str) -> None:
    write_inat(tmp_path, train)
    index = load_index(spec_of("inat2021", tmp_path))
    same = "Animalia_Sabella_spallanzanii"
    assert index.classes == (f"00003_{same}", "Lumbricus terrestris", f"00009_{same}")
    assert index.train.files[0] == f"{train}/00007_Animalia_Lumbricus_terrestris/0é.jpg"
    assert index.train.labels.tolist() == [1, 1, 0, 0, 2, 2]
    assert index.test.labels.tolist() == [1, 0, 2]


def test_all_images_go_before_the_small_set(tmp_path: Path) -> None:
    write_inat(tmp_path, "train_mini")
    write_inat(tmp_path, "train")
    assert load_index(spec_of("inat2021", tmp_path)).train.files[0].startswith("train/")


def test_training_images_without_their_list(tmp_path: Path) -> None:
    root = write_inat(tmp_path)
    (root / "train").rename(root / "train_mini")
    assert "has no train.json with a folder train" in refused("inat2021", tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tree: tree["annotations"].pop(0), ["image 9001", "has no annotation"]),
        (lambda tree: tree["annotations"].clear(), ["has no annotation"]),
        (lambda tree: tree["annotations"][0].update(category_id=10), ["category 10", "not listed"]),
        (lambda tree: tree["annotations"][0].update(category_id=4), ["category 4", "not listed"]),
        (lambda tree: tree["images"][0].pop("file_name"), ["train.json", "images holds", "is not a valid entry"]),
        (lambda tree: tree["images"].insert(0, 7), ["train.json", "images holds 7"]),
    ],
)
def test_contradictions_are_named(tmp_path: Path, change: Callable[[dict[str, Any]], object], words: list[str]) -> None:
    path = write_inat(tmp_path) / "train.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    message = refused("inat2021", tmp_path)
    assert all(word in message for word in words), message


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = write_inat(tmp_path) / "train.json"
    path.write_text(path.read_text()[:-60])
    assert "train.json: is not a complete JSON file" in refused("inat2021", tmp_path)
