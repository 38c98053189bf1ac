"""Corrections of labels in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fgvc_cli.data.label_fixes import fix_labels
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest


def index_of(root: Path) -> DatasetIndex:
    train = Split(("red/1.png", "red/2.png", "blue/1.png"), np.array([1, 1, 0]), np.arange(12.0).reshape(3, 4))
    return DatasetIndex("folder", root, ("blue", "red"), train, Split(("red/9.png",), np.array([1])))


def test_labels_change_and_images_are_left_out(tmp_path) -> None:
    file = tmp_path / "fixes.csv"
    file.write_text("image,given,label\nred/1.png,red,Blue\nred/2.png,red,-\nblue/1.png,blue,\nred/9.png,red,blue\n")
    found = fix_labels(index_of(tmp_path), file)
    assert found.train.files == ("red/1.png", "blue/1.png")
    assert found.train.labels.tolist() == [0, 0]
    assert found.train.boxes is not None
    assert found.train.boxes[1].tolist() == [8, 9, 10, 11]
    assert found.test.labels.tolist() == [0]
    assert found.notes == ("labels of 3 images corrected by fixes.csv",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("image,label\nred/7.png,blue\n", "line 2: the dataset has no image 'red/7.png'"),
        ("image,label\nred/1.png,green\n", "line 2: the dataset has no class 'green'"),
        ("image,class\nred/1.png,blue\n", "needs the columns image and label"),
        ("", "needs the columns image and label"),
    ],
)
def test_bad_files(tmp_path, text, complaint) -> None:
    (tmp_path / "fixes.csv").write_text(text)
    with pytest.raises(BadRequest, match=complaint):
        fix_labels(index_of(tmp_path), tmp_path / "fixes.csv")
    with pytest.raises(BadRequest, match="cannot read"):
        fix_labels(index_of(tmp_path), tmp_path / "nothing.csv")
