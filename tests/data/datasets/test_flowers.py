from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.datasets.flowers import NAMES
from tests.data.datasets.refusals import refused
from tests.data.small_archives import spec_of
from tests.data.trees import write_flowers


def test_training_and_validation_images_together(tmp_path: Path) -> None:
    write_flowers(tmp_path)
    index = load_index(spec_of("flowers", tmp_path))
    assert [int(file[10:15]) for file in index.train.files] == [7, 1, 2, 3, 4, 6, 5, 8, 9]
    assert index.train.labels.tolist() == [1, 101, 0, 1, 0, 101, 1, 101, 0]
    assert [int(file[10:15]) for file in index.test.files] == [12, 11, 10]
    assert index.test.labels.tolist() == [101, 1, 0]
    assert index.val is None
    assert not index.drawn


def test_all_names_are_known() -> None:
    assert len(NAMES) == len(set(NAMES)) == 102
    assert (NAMES[0], NAMES[11], NAMES[50], NAMES[72], NAMES[101]) == (
        "pink primrose",
        "colt's foot",
        "petunia",
        "water lily",
        "blackberry lily",
    )


def test_the_box_is_around_what_the_segmentation_keeps(tmp_path: Path) -> None:
    """JPEG blurs the object's edge, at x 8..16, y 0..8 here, by a pixel."""
    write_flowers(tmp_path)
    boxes = load_index(spec_of("flowers", tmp_path)).test.boxes
    assert boxes is not None
    assert np.abs(boxes - [8, 0, 16, 8]).max() <= 1


def test_without_segmentations_there_are_no_boxes(tmp_path: Path) -> None:
    write_flowers(tmp_path, masks=False)
    assert load_index(spec_of("flowers", tmp_path)).train.boxes is None


def test_images_without_a_segmentation_have_no_box(tmp_path: Path) -> None:
    root = write_flowers(tmp_path)
    (root / "segmim" / "segmim_00012.jpg").unlink()
    (root / "segmim" / "segmim_00010.jpg").write_bytes(b"no image")
    index = load_index(spec_of("flowers", tmp_path))
    assert index.test.boxes is not None
    assert index.test.boxes[[0, 2]].tolist() == [[0, 0, 0, 0]] * 2
    assert index.test.boxes[1, 2] > 0
    note = next(note for note in index.notes if "no true box" in note)
    assert note.startswith("2 of 12 images have no true box (first: ")
    assert "segmim_00012.jpg is missing" in note


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tstid": [12, 13]}, ["setid.mat", "image 13", "12 images"]),
        ({"tstid": [0]}, ["setid.mat", "image 0"]),
        ({"tstid": [12, 7]}, ["image_00007.jpg in two splits"]),
        ({"valid": None}, ["setid.mat", "holds no valid"]),
    ],
)
def test_contradictions_are_named(tmp_path: Path, change: dict[str, list[int] | None], words: list[str]) -> None:
    root = write_flowers(tmp_path)
    parts = {"trnid": [7, 1, 2], "valid": [5], "tstid": [12]} | change
    known = {name: np.array([ids], dtype=np.uint16) for name, ids in parts.items() if ids is not None}
    scipy.io.savemat(root / "setid.mat", known)
    message = refused("flowers", tmp_path)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("label", [0, 103])
def test_labels_outside_are_refused(tmp_path: Path, label: int) -> None:
    root = write_flowers(tmp_path)
    scipy.io.savemat(root / "imagelabels.mat", {"labels": np.array([[1] * 11 + [label]], dtype=np.uint8)})
    assert "from 1 to 102" in refused("flowers", tmp_path)


def test_a_damaged_list_is_named(tmp_path: Path) -> None:
    root = write_flowers(tmp_path)
    (root / "imagelabels.mat").write_bytes((root / "imagelabels.mat").read_bytes()[:150])
    assert "imagelabels.mat" in refused("flowers", tmp_path)
    (root / "imagelabels.mat").unlink()
    assert "imagelabels.mat" in refused("flowers", tmp_path)
