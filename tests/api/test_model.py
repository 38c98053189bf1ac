"""A model in a program answers as the command does."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image

import fgvc_cli as fgvc
from tests.api.conftest import CLASSES


@pytest.fixture(scope="module")
def model(reaps: Path) -> fgvc.Model:
    return fgvc.load(reaps)


@pytest.fixture
def bird(photos: Path) -> Path:
    return photos / "test/red/0.png"


def test_what_it_is(model: fgvc.Model, reaps: Path) -> None:
    assert (model.name, model.classes, model.device) == ("reaps-run", CLASSES, "cpu")
    assert model.run is not None
    assert model.run.folder == reaps
    assert "cam" in model.kinds
    assert "rois" in model.kinds


def test_one_image_in_every_form(model: fgvc.Model, bird: Path) -> None:
    pixels = np.array(Image.open(bird))
    answer = model.predict(bird, top=2)
    assert isinstance(answer, fgvc.Answer)
    assert (answer.width, answer.height, len(answer.top)) == (36, 40, 2)
    assert answer.top[0].name == answer.text
    assert 0 < answer.top[1].probability <= answer.top[0].probability <= 1
    (box,) = answer.boxes["ran"]
    assert box is not None
    assert 0 <= box.xyxy[0] < box.xyxy[2] <= 36
    for other in (str(bird), pixels, Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1), pixels / 255):
        again = model.predict(other, top=2)
        assert (again.top, again.boxes) == (answer.top, answer.boxes)


def test_several_images(model: fgvc.Model, photos: Path, bird: Path) -> None:
    found = fgvc.images(photos / "test")
    answers = model.predict(found)
    assert [answer.picture.file for answer in answers] == found
    batch = np.stack([np.array(Image.open(file)) for file in found])
    assert [answer.top for answer in model.predict(batch)] == [answer.top for answer in answers]
    twice = model.predict([bird, bird, np.array(Image.open(bird))], boxes=False)
    assert twice[0].top == twice[1].top == twice[2].top
    assert [answer.picture.name for answer in twice] == [str(bird), str(bird), "image 2"]
    assert twice[0].boxes == {}
    assert model.predict([]) == []


def test_an_image_that_cannot_be_read(model: fgvc.Model, bird: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"x")
    with pytest.raises(fgvc.FgvcError, match=r"cut.png: is not a readable image"):
        model.predict([bird, tmp_path / "cut.png"])
    with pytest.raises(fgvc.FgvcError, match=r"gone.png: cannot be read \(No such file"):
        model.predict(tmp_path / "gone.png")
    with pytest.raises(fgvc.BadRequest, match=r"is a folder: give its images, fgvc.images\("):
        model.predict([tmp_path])
    with pytest.raises(fgvc.BadRequest, match="image 0: the path is empty"):
        model.embed("")
    with pytest.raises(fgvc.BadRequest, match="give one image: a path"):
        model.explain([bird, bird])  # type: ignore[arg-type]
    found = list(model.stream([bird, tmp_path / "cut.png", bird]))
    assert [isinstance(one, fgvc.Failed) for one in found] == [False, True, False]


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"top": 0}, "--top 0: give at least 1"),
        ({"min_confidence": 2}, "--min-confidence 2: give a share from 0 to 1"),
        ({"set_coverage": 1.0}, "--set-coverage 1: give a share from 0 to 0.9999"),
        ({"rollup": 0}, "--rollup 0: give a share from 0.0001 to 1"),
        ({"tops": 1}, r"tops is no flag of predict: "),
        ({"target_precision": 0.9}, "has no validation split"),
        ({"rollup": 0.9}, "--rollup needs a tree of the classes"),
    ],
)
def test_what_it_cannot_give(model: fgvc.Model, bird: Path, asked: dict[str, float], complaint: str) -> None:
    with pytest.raises(fgvc.BadRequest, match=complaint):
        model.predict(bird, **asked)  # type: ignore[arg-type]


def test_boxes_of_a_method_without(trained: fgvc.Run, bird: Path) -> None:
    plain = trained.load()
    assert plain.predict(bird).boxes == {}
    with pytest.raises(fgvc.BadRequest, match="--boxes: method baseline has none"):
        plain.predict(bird, boxes=True)


def test_thresholds_sets_and_unknown_classes(trained: fgvc.Run, bird: Path) -> None:
    answer = trained.load().predict(bird, min_confidence=1.0, set_coverage=0.5, unknown=True)
    assert answer.unsure
    assert answer.choices
    assert answer.known is not None
    assert answer.text == ("unsure" if answer.known.known else "unknown")


def test_vectors(trained: fgvc.Run, bird: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = trained.load()
    one = model.embed(np.array(Image.open(bird)))
    assert not list(tmp_path.rglob("*.rows"))  # nothing is kept of an image in memory
    assert one.ndim == 1
    assert np.allclose(model.embed(bird), one, atol=1e-5)
    assert model.embed([bird, bird]).shape == (2, len(one))
    near = model.similar(bird, among=str(photos / "test"), count=2)
    assert [len(row) for row in near] == [2]
    assert near[0][0].picture.file != bird
    assert model.similar([np.array(Image.open(bird))], among="train", count=1)[0][0].name in CLASSES


def test_why(model: fgvc.Model, bird: Path, tmp_path: Path) -> None:
    why = model.explain(bird)
    assert (why.kind, why.facts["predicted"]) == ("cam", model.predict(bird).text)
    assert why.save(tmp_path / "new/why.png") == tmp_path / "new/why.png"
    with Image.open(tmp_path / "new/why.png") as saved:
        assert saved.size == why.image.size
    assert why._repr_png_().startswith(b"\x89PNG")
    other = model.explain(np.array(Image.open(bird)), "versus", class_name="red", against="Blue", dpi=50)
    assert other.kind == "versus"
    assert other.image.size[0] < why.image.size[0]


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"kind": "x"}, "there is no picture called x: choose one of rois, cam"),
        ({"kind": "relations"}, r"has no relations among parts; methods that have them: "),
        ({"class_name": "violet"}, "--class violet: no such class"),
        ({"kind": "versus", "class_name": "red", "against": "red"}, "--class and --against are both red"),
        ({"alpha": 2.0}, "--alpha: give a number from 0"),
        ({"kind": "rois", "class_name": "red"}, "--class: the picture of rois does not depend on a class"),
    ],
    ids=str,
)
def test_pictures_that_cannot_be_drawn(model: fgvc.Model, bird: Path, asked: dict[str, str], complaint: str) -> None:
    with pytest.raises(fgvc.BadRequest, match=complaint):
        model.explain(bird, **asked)  # type: ignore[arg-type]


def test_a_picture_that_cannot_be_written(model: fgvc.Model, bird: Path, tmp_path: Path) -> None:
    why = model.explain(bird, dpi=40)
    with pytest.raises(fgvc.BadRequest, match=r"give a name that ends in .png"):
        why.save(tmp_path / "why.jpg")
    with pytest.raises(fgvc.FgvcError):
        why.save("/proc/why.png")


def test_in_another_thread(model: fgvc.Model, reaps: Path, bird: Path) -> None:
    found: list[fgvc.Answer] = []
    thread = Thread(target=lambda: found.append(fgvc.load(reaps).predict(bird)))
    thread.start()
    thread.join()
    assert found[0].top == model.predict(bird).top


def test_what_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pt").write_bytes(b"\x80\x04")
    with pytest.raises(fgvc.BadRequest, match="no trained run under runs/"):
        fgvc.load()
    with pytest.raises(fgvc.BadRequest, match="there is no run at nowhere"):
        fgvc.load("nowhere")
    with pytest.raises(fgvc.BadRequest, match=r"x.pt is not a model saved by fgvc"):
        fgvc.load("x.pt")
    with pytest.raises(fgvc.BadRequest, match=r"is not a run folder"):
        fgvc.load(tmp_path)
