from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from fgvc_cli.data.datasets import load_index
from tests.data.datasets.refusals import refused
from tests.data.small_archives import spec_of
from tests.data.trees import DOGS, cells, write_dogs


@pytest.mark.parametrize("nested", [False, True])
def test_names_labels_and_boxes(tmp_path: Path, nested: bool) -> None:
    root = write_dogs(tmp_path, nested=nested)
    index = load_index(spec_of("dogs", root))
    assert index.classes == ("Chihuahua", "soft-coated wheaten terrier", "Bernese mountain dog")
    assert index.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert index.test.labels.tolist() == [0, 1, 2]
    assert index.train.files[1] == f"{'images/' * nested}Images/{DOGS[0]}/n02085620_2.jpg"
    assert index.train.boxes is not None
    assert index.train.boxes[0].tolist() == [2, 3, 20, 15]
    assert index.train.boxes[1].tolist() == [0, 3, 20, 18]  # around both dogs


def test_lists_in_a_folder_of_their_own(tmp_path: Path) -> None:
    root = write_dogs(tmp_path)
    (root / "lists").mkdir()
    for name in ("train_list.mat", "test_list.mat"):
        (root / name).rename(root / "lists" / name)
    assert len(load_index(spec_of("dogs", tmp_path)).train) == 6


def test_without_annotations_there_are_no_boxes(tmp_path: Path) -> None:
    root = write_dogs(tmp_path)
    (root / "Annotation").rename(root / "elsewhere")
    assert load_index(spec_of("dogs", tmp_path)).train.boxes is None


@pytest.mark.parametrize("text", ["<a></a>", "<a>", "", "<a><bndbox><xmin>x</xmin></bndbox></a>"])
def test_an_annotation_that_marks_nothing_is_told(tmp_path: Path, text: str) -> None:
    root = write_dogs(tmp_path)
    (root / "Annotation" / DOGS[0] / "n02085620_1").write_text(text)
    index = load_index(spec_of("dogs", tmp_path))
    assert any("1 of 9 images have no true box" in note for note in index.notes)
    assert index.train.boxes is not None
    assert index.train.boxes[0].tolist() == [0, 0, 0, 0]


def test_fewer_breeds_keep_labels_without_gaps(tmp_path: Path) -> None:
    root = write_dogs(tmp_path)
    for split, number in (("train", 1), ("test", 3)):
        files = [f"{folder}/{folder[:9]}_{number}.jpg" for folder in (DOGS[2], DOGS[0])]
        lists = {"file_list": cells(files), "labels": np.array([[120], [1]], dtype=np.uint8)}
        scipy.io.savemat(root / f"{split}_list.mat", lists)
    index = load_index(spec_of("dogs", tmp_path))
    assert index.classes == ("Chihuahua", "Bernese mountain dog")
    assert index.train.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("folders", "labels", "words"),
    [
        ((0, 1), (1, 1), ["test_list.mat: entry 2", f"class 1 is {DOGS[1]} here, {DOGS[0]} before"]),
        ((0, 1), (1,), ["test_list.mat: 2 files, but 1 labels"]),
    ],
)
def test_contradictions_are_named(
    tmp_path: Path, folders: tuple[int, ...], labels: tuple[int, ...], words: list[str]
) -> None:
    root = write_dogs(tmp_path)
    files = [f"{DOGS[i]}/{DOGS[i][:9]}_3.jpg" for i in folders]
    numbers = np.array([labels], dtype=np.uint8)
    scipy.io.savemat(root / "test_list.mat", {"file_list": cells(files), "labels": numbers})
    message = refused("dogs", tmp_path)
    assert all(word in message for word in words), message


def test_without_lists(tmp_path: Path) -> None:
    root = write_dogs(tmp_path)
    (root / "test_list.mat").unlink()
    assert "unpack lists.tar" in refused("dogs", tmp_path)
