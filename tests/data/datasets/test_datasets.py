from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.datasets.demo import demo_home, read
from fgvc_cli.data.demo.folder import generate
from fgvc_cli.data.demo.image import CLASSES
from fgvc_cli.data.images.read import read_image
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import BadRequest
from tests.data.small_archives import (
    CAR_CLASSES,
    spec_of,
    write_cars_devkit,
    write_cars_one_list,
    write_cub,
    write_image,
    write_lines,
)


def refused(dataset: str, root: Path) -> str:
    """The one line that refuses this data."""
    with pytest.raises(BadRequest) as caught:
        load_index(spec_of(dataset, root))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_readable(index: DatasetIndex) -> None:
    """Every file is there, and its box within the image."""
    for split in (index.train, index.test):
        for i, file in enumerate(split.files):
            height, width = read_image(index.root / file).shape[1:]
            if split.boxes is not None:
                x1, y1, x2, y2 = split.boxes[i]
                assert 0 <= x1 < x2 <= width
                assert 0 <= y1 < y2 <= height


# --- CUB -----------------------------------------------------------------------------------------------------------


def test_cub(tmp_path: Path) -> None:
    write_cub(tmp_path)
    index = load_index(spec_of("cub", tmp_path))
    assert index.classes == ("Black footed Albatross", "Laysan Albatross", "Red winged Blackbird")
    assert index.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert index.test.labels.tolist() == [0, 1, 2]
    assert index.train.files[0] == "images/001.Black_footed_Albatross/Black_footed_Albatross_0000.jpg"
    assert not any("stray" in file for file in index.train.files + index.test.files)
    assert index.test.boxes is not None
    assert index.test.boxes.tolist() == [[1, 2, 11, 7.5], [4, 2, 14, 7.5], [7, 2, 17, 7.5]]
    assert index.part_names == ("back", "left eye")
    assert index.train.parts is not None
    assert index.train.parts[0].tolist() == [[3.5, 4, 1], [0, 0, 0]]
    assert index.train.parts[-1].tolist() == [[0, 0, 0], [7, 8, 1]]
    assert index.notes == (
        "a part of CUB-200-2011 birds: 3 of 200 classes, 6 of 5994 training and 3 of 5794 test images",
    )
    assert not index.drawn
    assert_readable(index)


def test_cub_without_boxes_and_parts(tmp_path: Path) -> None:
    root = write_cub(tmp_path)
    (root / "bounding_boxes.txt").unlink()
    (root / "parts" / "part_locs.txt").unlink()
    index = load_index(spec_of("cub", root))
    assert index.train.boxes is index.train.parts is None
    assert index.part_names == ()


def test_cub_says_which_images_are_missing(tmp_path: Path) -> None:
    root = write_cub(tmp_path)
    folder = root / "images" / "002.Laysan_Albatross"
    for number in (3, 4, 5):
        (folder / f"Laysan_Albatross_{number:04d}.jpg").unlink()
    folder.rmdir()
    index = load_index(spec_of("cub", root))
    assert len(index.classes) == 3
    assert index.train.labels.tolist() == [0, 0, 2, 2]
    assert index.notes[0].startswith("2 images listed in images.txt are not on disk")
    assert "Laysan_Albatross_0003.jpg" in index.notes[0]
    assert index.train.boxes is not None
    assert index.train.boxes[:, 0].tolist() == [0, 2, 6, 8]


def test_cub_without_one_image(tmp_path: Path) -> None:
    root = write_cub(tmp_path)
    (root / "images").rename(root / "pictures")
    assert "not one training image" in refused("cub", root)


def test_cub_names_stay_unique(tmp_path: Path) -> None:
    root = write_cub(tmp_path)
    write_lines(root / "classes.txt", "1 001.Tern", "2 002.Tern", "10 010.Gull")
    assert load_index(spec_of("cub", root)).classes == ("001.Tern", "002.Tern", "Gull")


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("image_class_labels.txt", lambda lines: lines[:4] + lines[5:], ["images.txt:5", "image_class_labels.txt"]),
        ("train_test_split.txt", lambda lines: lines[:-1], ["images.txt:9", "train_test_split.txt"]),
        ("train_test_split.txt", lambda lines: ["1 2", *lines[1:]], ["train_test_split.txt:1", "'2'"]),
        ("image_class_labels.txt", lambda lines: [*lines[:2], "3 77", *lines[3:]], ["labels.txt:3", "class '77'"]),
        ("images.txt", lambda lines: [*lines, lines[0]], ["images.txt:10", "second time"]),
        ("images.txt", lambda lines: ["1", *lines[1:]], ["images.txt:1", "two columns"]),
        ("bounding_boxes.txt", lambda lines: ["1 3 4 5", *lines[1:]], ["bounding_boxes.txt:1", "4 numbers"]),
        ("bounding_boxes.txt", lambda lines: ["1 3 4 5 nan", *lines[1:]], ["bounding_boxes.txt:1", "4 numbers"]),
        ("classes.txt", lambda lines: ["x 001.Tern", *lines[1:]], ["classes.txt:1", "number"]),
        ("parts/part_locs.txt", lambda lines: ["1 9 1 1 1"], ["part_locs.txt:1", "part 9"]),
    ],
)
def test_cub_contradictions_are_named(
    tmp_path: Path, file: str, change: Callable[[list[str]], list[str]], words: list[str]
) -> None:
    root = write_cub(tmp_path)
    write_lines(root / file, *change((root / file).read_text().splitlines()))
    message = refused("cub", root)
    assert all(word in message for word in words), message


def test_cub_without_a_list(tmp_path: Path) -> None:
    root = write_cub(tmp_path)
    (root / "train_test_split.txt").unlink()
    assert "train_test_split.txt: cannot be read" in refused("cub", root)


# --- Cars ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("kit", "beside"), [("devkit", True), ("devkit", False), ("car_devkit/devkit", True)])
def test_cars_devkit(tmp_path: Path, nested: bool, kit: str, beside: bool) -> None:
    root = write_cars_devkit(tmp_path / "stanford_cars", nested=nested, kit=kit, beside=beside)
    index = load_index(spec_of("cars", tmp_path))
    assert index.root == root
    assert index.classes == CAR_CLASSES
    assert index.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert index.test.labels.tolist() == [0, 1, 2]
    assert index.train.boxes is not None
    assert (index.train.boxes == [0, 0, 24, 18]).all()  # 1-based in uint8: a subtraction there would wrap
    assert_readable(index)


def test_cars_one_list(tmp_path: Path) -> None:
    write_cars_one_list(tmp_path)
    index = load_index(spec_of("cars", tmp_path))
    assert index.classes == CAR_CLASSES
    assert index.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert index.test.files == ("car_ims/000003.jpg", "car_ims/000006.jpg", "car_ims/000009.jpg")
    assert_readable(index)


def test_cars_box_that_starts_at_zero_does_not_wrap(tmp_path: Path) -> None:
    write_cars_one_list(tmp_path)
    path = tmp_path / "cars_annos.mat"
    content = scipy.io.loadmat(path)
    content["annotations"][0, 0]["bbox_x1"] = np.array([[0]], dtype=np.uint8)
    scipy.io.savemat(path, {name: content[name] for name in ("annotations", "class_names")})
    boxes = load_index(spec_of("cars", tmp_path)).train.boxes
    assert boxes is not None
    assert boxes[0, 0] == -1


def test_cars_test_labels_are_asked_for(tmp_path: Path) -> None:
    write_cars_devkit(tmp_path)
    labelled = tmp_path / "cars_test_annos_withlabels.mat"
    labelled.rename(tmp_path / "devkit" / "cars_test_annos.mat")
    message = refused("cars", tmp_path)
    assert "cars_test_annos.mat has no labels" in message
    assert "cars_test_annos_withlabels.mat" in message


def test_cars_list_without_labels_under_the_other_name(tmp_path: Path) -> None:
    write_cars_devkit(tmp_path)
    path = tmp_path / "cars_test_annos_withlabels.mat"
    annotations = scipy.io.loadmat(path)["annotations"]
    unlabelled = annotations[[name for name in annotations.dtype.names if name != "class"]]
    stripped = np.empty(unlabelled.shape, dtype=[(name, object) for name in unlabelled.dtype.names])
    for name in unlabelled.dtype.names:
        stripped[name] = unlabelled[name]
    scipy.io.savemat(path, {"annotations": stripped})
    assert "have no labels" in refused("cars", tmp_path)


def test_cars_label_outside_of_the_classes(tmp_path: Path) -> None:
    write_cars_one_list(tmp_path)
    path = tmp_path / "cars_annos.mat"
    content = scipy.io.loadmat(path)
    content["annotations"][0, 1]["class"] = np.array([[9]], dtype=np.uint8)
    scipy.io.savemat(path, {name: content[name] for name in ("annotations", "class_names")})
    message = refused("cars", tmp_path)
    assert "entry 2" in message
    assert "class 9" in message


def test_cars_without_devkit_and_with_a_damaged_one(tmp_path: Path) -> None:
    write_cars_devkit(tmp_path)
    meta = tmp_path / "devkit" / "cars_meta.mat"
    meta.write_bytes(b"<html>gone</html>" * 100)
    assert "cars_meta.mat: is not a readable .mat file" in refused("cars", tmp_path)
    scipy.io.savemat(meta, {"other": 1})
    assert "holds no class_names" in refused("cars", tmp_path)
    meta.unlink()
    assert "cars_meta.mat is missing" in refused("cars", tmp_path)


def test_cars_missing_images_are_noted(tmp_path: Path) -> None:
    write_cars_devkit(tmp_path)
    (tmp_path / "cars_train" / "00002.jpg").unlink()
    index = load_index(spec_of("cars", tmp_path))
    assert len(index.train) == 5
    assert "00002.jpg" in index.notes[0]


# --- Demo ----------------------------------------------------------------------------------------------------------


def write_demo(root: Path) -> Path:
    for split in ("train", "test"):
        for i in range(4):
            write_image(root / split / f"{i:05d}.png", 16, 16, seed=i)
    images = {
        split: [
            {
                "file": f"{split}/{i:05d}.png",
                "label": i % 2,
                "box": [1, 2, 9, 10],
                "parts": {"beak": [3.5, 4.5, True], "tail": [8.5, 9.5, i == 0]},
            }
            for i in range(4)
        ]
        for split in ("train", "test")
    }
    traits = [{"beak": "long", "tail": "round"}, {"beak": "short", "tail": "round"}]
    facts = {"classes": ["Elm finch", "Oak finch"], "parts": ["beak", "tail"], "traits": traits, "images": images}
    (root / "annotations.json").write_text(json.dumps(facts | {"version": 1, "seed": 0, "size": 16}))
    return root


def test_demo_annotations_are_read(tmp_path: Path) -> None:
    index = read(write_demo(tmp_path))
    assert index.classes == ("Elm finch", "Oak finch")
    assert index.part_names == ("beak", "tail")
    assert index.train.labels.tolist() == [0, 1, 0, 1]
    assert index.train.boxes is not None
    assert index.train.boxes[0].tolist() == [1, 2, 9, 10]
    assert index.train.parts is not None
    assert index.train.parts[0].tolist() == [[3.5, 4.5, 1], [8.5, 9.5, 1]]
    assert index.train.parts[1, 1, 2] == 0
    assert_readable(index)


def test_demo_is_drawn_where_data_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, object]] = []

    def drawn(root: Path, *, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> Path:
        asked.append((root, progress))
        if progress is not None:
            for done in (1, 2, 3):
                progress(done, 3)
        return write_demo(root / "demo")

    monkeypatch.setattr("fgvc_cli.data.demo.folder.generate", drawn)
    monkeypatch.setenv("FGVC_DATA_DIR", str(tmp_path / "variable"))
    steps: list[tuple[int, int]] = []
    index = load_index(spec_of("demo", tmp_path / "root"), progress=lambda what, *step: steps.append(step))
    assert len(index.train) == 4
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    load_index(spec_of("demo"))
    assert [root for root, _ in asked] == [tmp_path / "root", tmp_path / "variable"]
    assert asked[1][1] is None
    monkeypatch.delenv("FGVC_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert demo_home(spec_of("demo")) == tmp_path / "cache" / "fgvc"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert demo_home(spec_of("demo")) == Path.home() / ".cache" / "fgvc"


def test_demo_that_was_tampered_with(tmp_path: Path) -> None:
    root = write_demo(tmp_path)
    (root / "annotations.json").write_text("{}")
    with pytest.raises(BadRequest, match="delete"):
        read(root)


def test_the_generator_writes_what_is_read(tmp_path: Path) -> None:
    root = generate(tmp_path, size=32, train_per_class=2, test_per_class=1)
    index = read(root)
    assert index.classes == CLASSES
    assert (len(index.train), len(index.test)) == (24, 12)
    assert_readable(index)


@pytest.mark.parametrize("dataset", ["cub", "cars"])
def test_boxes_of_other_images_are_not_used(tmp_path: Path, dataset: str) -> None:
    root = write_cub(tmp_path) if dataset == "cub" else write_cars_devkit(tmp_path)
    for file in root.rglob("*.jpg"):
        write_image(file, 24, 3)  # as if someone had shrunk them to save space
    index = load_index(spec_of(dataset, root))
    assert index.train.boxes is index.train.parts is index.test.boxes is None
    assert any("boxes are not used" in note and "24 x 3" in note for note in index.notes)


@pytest.mark.parametrize("dataset", ["cub", "cars"])
def test_images_cut_along_their_boxes(tmp_path: Path, dataset: str) -> None:
    """Whatever they were scaled by: the true box is the whole image."""
    root = write_cub(tmp_path) if dataset == "cub" else write_cars_devkit(tmp_path)
    given = load_index(spec_of(dataset, root))
    for split in (given.train, given.test):
        assert split.boxes is not None
        for file, (x1, y1, x2, y2) in zip(split.files, split.boxes, strict=True):
            write_image(given.root / file, round((x2 - x1) / 3), round((y2 - y1) / 3))
    index = load_index(spec_of(dataset, root))
    assert any("cropped to their boxes" in note for note in index.notes)
    for split, before in ((index.train, given.train), (index.test, given.test)):
        assert split.boxes is not None
        sides = np.rint((before.boxes[:, 2:] - before.boxes[:, :2]) / 3)
        assert split.boxes.tolist() == [[0, 0, *side] for side in sides.tolist()]


def test_images_of_which_half_were_cut_have_no_true_boxes(tmp_path: Path) -> None:
    root = write_cub(tmp_path)
    given = load_index(spec_of("cub", root))
    for split in (given.train, given.test):
        assert split.boxes is not None
        for i, (file, (x1, y1, x2, y2)) in enumerate(zip(split.files, split.boxes, strict=True)):
            size = (round((x2 - x1) / 3), round((y2 - y1) / 3)) if i % 2 else (24, 3)
            write_image(given.root / file, *size)
    index = load_index(spec_of("cub", root))
    assert index.train.boxes is index.test.boxes is None
    assert any("boxes are not used" in note for note in index.notes)


# --- Real images ---------------------------------------------------------------------------------------------------


def check_splits(index: DatasetIndex, classes: int, train: int, test: int) -> None:
    assert (len(index.classes), len(index.train), len(index.test)) == (classes, train, test)
    assert len(set(index.classes)) == classes
    assert not set(index.train.files) & set(index.test.files)
    for split in (index.train, index.test):
        assert split.labels.min() == 0
        assert split.labels.max() == classes - 1


@pytest.mark.realdata
def test_real_cub(realdata: Path) -> None:
    index = load_index(spec_of("cub", realdata))
    check_splits(index, 100, 2999, 2903)
    assert index.classes[0] == "Black footed Albatross"


@pytest.mark.realdata
def test_real_cars(realdata: Path) -> None:
    index = load_index(spec_of("cars", realdata))
    check_splits(index, 98, 2868, 1240)
    # These images were cut out along their boxes, and scaled: the boxes in the file are those of the whole photographs.
    assert any("cropped to their boxes" in note for note in index.notes)
    for split in (index.train, index.test):
        assert split.boxes is not None
        with Image.open(index.root / split.files[-1]) as image:
            assert split.boxes[-1].tolist() == [0, 0, *image.size]
