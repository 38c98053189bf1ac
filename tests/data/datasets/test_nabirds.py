from __future__ import annotations

from pathlib import Path

import pytest

from fgvc_cli.data.datasets import load_index
from tests.data.datasets.refusals import change_lines, refused
from tests.data.small_archives import spec_of, write_lines
from tests.data.trees import write_nabirds


def test_classes_are_those_with_images(tmp_path: Path) -> None:
    write_nabirds(tmp_path)
    index = load_index(spec_of("nabirds", tmp_path))
    assert index.classes == ("Common Eider (Adult male)", "Teal (Ducks)", "Teal (Owls)")
    assert index.train.labels.tolist() == index.test.labels.tolist() == [1, 2, 0]
    assert index.train.files[0] == "images/0313/0000139e21dc4d0cbfe14cae3c85c829.jpg"
    assert index.train.boxes is not None
    assert index.train.boxes[0].tolist() == [2, 3, 12, 15]
    assert index.part_names == ("bill", "crown")
    assert index.train.parts is not None
    assert index.train.parts[0].tolist() == [[5, 6, 1], [-1, -1, 0]]


def test_names_that_the_tree_cannot_tell_apart_get_their_numbers(tmp_path: Path) -> None:
    root = write_nabirds(tmp_path)
    write_lines(root / "hierarchy.txt", "295 22", "313 22", "1010 22")
    assert load_index(spec_of("nabirds", tmp_path)).classes[1:] == ("Teal (Ducks) (313)", "Teal (Ducks) (1010)")


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("image_class_labels.txt", "0000139e-21dc-4d0c-bfe1-4cae3c85c829 555", ["labels.txt:1", "class '555'"]),
        ("image_class_labels.txt", "0000139e-21dc-4d0c-bfe1-4cae3c85c829 x", ["labels.txt:1", "expected a number"]),
        ("train_test_split.txt", "0000139e-21dc-4d0c-bfe1-4cae3c85c829 2", ["split.txt:1", "from 0 to 1"]),
        ("bounding_boxes.txt", "0000139e-21dc-4d0c-bfe1-4cae3c85c829 1 2 3", ["boxes.txt:1", "4 numbers"]),
    ],
)
def test_contradictions_are_named(tmp_path: Path, file: str, line: str, words: list[str]) -> None:
    root = write_nabirds(tmp_path)
    change_lines(root / file, 1, line)
    message = refused("nabirds", tmp_path)
    assert all(word in message for word in words), message
