"""What holds for every dataset that is read from its official files. `tests/data/trees.py` writes small ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.facts import CATALOG
from fgvc_cli.data.images.read import read_image
from fgvc_cli.data.loading.loader import make_loader
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.build import build_spec
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.data.small_archives import spec_of
from tests.data.trees import WRITERS


@pytest.mark.parametrize("name", WRITERS)
def test_images_are_there_and_boxes_lie_in_them(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    index = load_index(spec_of(name, tmp_path))
    assert index.name == name
    assert (index.train.boxes is not None) == CATALOG[name].boxes
    files = [file for split in index.splits().values() for file in split.files]
    assert len(set(files)) == len(files)
    for split in index.splits().values():
        assert split.labels.dtype == np.int64
        assert split.labels.min() >= 0
        assert split.labels.max() < len(index.classes)
        for i, file in enumerate(split.files):
            height, width = read_image(index.root / file).shape[1:]
            if split.boxes is not None:
                x1, y1, x2, y2 = split.boxes[i]
                assert 0 <= x1 < x2 <= width
                assert 0 <= y1 < y2 <= height


@pytest.mark.parametrize("name", WRITERS)
def test_a_part_says_so_and_gives_batches(tmp_path: Path, name: str) -> None:
    root = WRITERS[name](tmp_path)
    spec = spec_of(name, root)
    index = load_index(spec)
    assert any(note.startswith(f"a part of {CATALOG[name].title}: ") for note in index.notes)
    loader = make_loader(index, index.train, spec, batch_size=2, train=True)
    batch = next(loader.epoch(0))
    assert batch.images.shape == (2, 3, 32, 32)
    assert (batch.boxes is not None) == CATALOG[name].boxes


@pytest.mark.parametrize("name", WRITERS)
def test_images_that_are_not_on_disk_are_left_out(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    whole = load_index(spec_of(name, tmp_path))
    gone = whole.train.files[0]
    (whole.root / gone).unlink()
    index = load_index(spec_of(name, tmp_path))
    assert index.classes == whole.classes
    assert index.train.files == whole.train.files[1:]
    assert index.train.labels.tolist() == whole.train.labels[1:].tolist()
    if whole.train.boxes is not None and index.train.boxes is not None:
        assert index.train.boxes.tolist() == whole.train.boxes[1:].tolist()
    assert any(note.startswith("1 images listed in") and gone in note for note in index.notes)


@pytest.mark.parametrize("name", WRITERS)
def test_without_a_test_image_it_is_refused(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    index = load_index(spec_of(name, tmp_path))
    for file in index.test.files:
        (index.root / file).unlink()
    with pytest.raises(BadRequest, match="not one test image found") as caught:
        load_index(spec_of(name, tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_data_that_are_nowhere_say_what_to_get(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest, match="--data-dir") as caught:
        load_index(spec_of(name, tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["veg200", "pets"])
def test_a_part_trains(tmp_path: Path, name: str) -> None:
    """One with validation lists, one whose boxes come from masks."""
    WRITERS[name](tmp_path)
    flags = {
        "data.root": str(tmp_path),
        "data.image_size": 32,
        "data.workers": 0,
        "backbone.name": "tiny",
        "backbone.weights": "none",
        "train.epochs": 1,
        "train.batch_size": 2,
        "train.device": "cpu",
    }
    spec = build_spec(dataset=name, flags=flags, sets=["data.resize=36"])
    assert spec.preset == "baseline-folder"
    console = Console(record=True, width=200)
    result = train(spec, tmp_path / "run", console)
    assert "a part of" in console.export_text()
    assert result["images"] == {"veg200": 6, "pets": 3}[name]
    assert (tmp_path / "run" / "model.safetensors").is_file()
