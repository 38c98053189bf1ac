from __future__ import annotations

from pathlib import Path

import pytest

from fgvc_cli.data.datasets import load_index
from tests.data.datasets.refusals import change_lines, refused
from tests.data.small_archives import spec_of
from tests.data.trees import write_pets


def test_breeds_by_their_numbers_and_boxes_around_trimaps(tmp_path: Path) -> None:
    write_pets(tmp_path)
    index = load_index(spec_of("pets", tmp_path))
    assert index.classes == ("Abyssinian", "American Bulldog", "Egyptian Mau")
    assert index.train.files[0] == "images/Abyssinian_10.jpg"
    assert index.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert index.test.labels.tolist() == [0, 1, 2]
    assert index.test.boxes is not None
    assert index.test.boxes.tolist() == [[3, 5, 14, 16]] * 3  # with the border, one pixel to the left
    assert not any("list.txt" in note or "._" in note for note in index.notes)


def test_without_trimaps_there_are_no_boxes(tmp_path: Path) -> None:
    root = write_pets(tmp_path)
    (root / "annotations" / "trimaps").rename(root / "elsewhere")
    assert load_index(spec_of("pets", tmp_path)).train.boxes is None


def test_a_trimap_without_an_animal_is_no_box(tmp_path: Path) -> None:
    from PIL import Image

    root = write_pets(tmp_path)
    Image.new("L", (24, 18), 2).save(root / "annotations" / "trimaps" / "Abyssinian_3.png")
    boxes = load_index(spec_of("pets", tmp_path)).test.boxes
    assert boxes is not None
    assert boxes[0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Abyssinian_10 2 1 1", ["trainval.txt:2", "Abyssinian is class 1 here, 2 before"]),
        ("Abyssinian_10 38 1 1", ["trainval.txt:1", "from 1 to 37"]),
        ("Abyssinian_10", ["trainval.txt:1", "two columns"]),
        ("Abyssinian_2 1 1 1", ["trainval.txt:2", "second time"]),
    ],
)
def test_contradictions_are_named(tmp_path: Path, line: str, words: list[str]) -> None:
    root = write_pets(tmp_path)
    change_lines(root / "annotations" / "trainval.txt", 1, line)
    message = refused("pets", tmp_path)
    assert all(word in message for word in words), message
