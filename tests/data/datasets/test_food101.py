from __future__ import annotations

from pathlib import Path

import pytest

from fgvc_cli.data.datasets import load_index
from tests.data.datasets.refusals import change_lines, refused
from tests.data.small_archives import spec_of
from tests.data.trees import write_food101


def test_lists_decide(tmp_path: Path) -> None:
    write_food101(tmp_path)
    index = load_index(spec_of("food101", tmp_path))
    assert index.classes == ("apple pie", "pho")
    assert index.train.files == tuple(f"images/{dish}/{i}.jpg" for dish in ("apple_pie", "pho") for i in (1005649, 14))
    assert index.train.labels.tolist() == [0, 0, 1, 1]
    assert index.test.labels.tolist() == [0, 1]


@pytest.mark.parametrize("line", ["apple_tart/14", "14", "/14"])
def test_an_unknown_class_is_named(tmp_path: Path, line: str) -> None:
    root = write_food101(tmp_path)
    change_lines(root / "meta" / "train.txt", 3, line)
    assert f"train.txt:3: expected one of the classes in classes.txt and an image, found {line!r}" in refused(
        "food101", tmp_path
    )


def test_one_class_is_none(tmp_path: Path) -> None:
    root = write_food101(tmp_path)
    for name in ("classes", "train", "test"):
        path = root / "meta" / f"{name}.txt"
        path.write_text("".join(line for line in path.read_text().splitlines(True) if line.startswith("pho")))
    assert "at least two" in refused("food101", tmp_path)


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    root = write_food101(tmp_path)
    (root / "meta" / "classes.txt").write_text("apple_pie\napple pie\npho\n")
    assert "two classes are called 'apple pie'" in refused("food101", tmp_path)
