"""A class learnt and forgotten without training."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fgvc_cli.errors import BadRequest
from fgvc_cli.evaluation.evaluate import evaluate_run
from fgvc_cli.inference.look import look, open_model
from fgvc_cli.inference.pictures import Picture, find_pictures
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.inference.trained import load_trained
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.training.features.enrollment import enroll, remove
from fgvc_cli.training.train import train
from tests.conftest import small_spec


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def quiet() -> Console:
    return Console(file=io.StringIO(), width=300)


@pytest.fixture
def white(tmp_path) -> Path:
    """Photos of a class that no run knows."""
    folder, dice = tmp_path / "white", np.random.RandomState(5)
    folder.mkdir()
    for number in range(4):
        Image.fromarray(dice.randint(200, 255, (40, 36, 3)).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def trained(photos: Path, out: Path, head: str) -> RunFolder:
    train(small_spec(photos, "probe", f"method.head={head}", "method.neighbours=3"), out, quiet())
    return RunFolder(out)


def add(run: RunFolder, name: str, photos: list[Picture]) -> int:
    return enroll(run, name, photos, Reporter(quiet()))


def answers(run: RunFolder, folder: Path) -> list[str]:
    model = open_model(run.path)
    seen = list(look(model, find_pictures([str(folder)])))
    return [model.classes[label] for part in seen for label in part.output.logits.argmax(1).tolist()]


@pytest.mark.parametrize("head", ["knn", "prototype"])
def test_a_class_is_learnt_and_forgotten(photos, white, tmp_path, head) -> None:
    run = trained(photos, tmp_path / "run", head)
    before = (run.path / "model.safetensors").read_bytes()
    result = evaluate_run(run, EvalRequest("test"), quiet())
    assert add(run, "White", find_pictures([str(white)])[:2]) == 4
    assert run.classes() == load_trained(run.model_file).classes == ("blue", "green", "red", "White")
    assert (run.versions / "0001.safetensors").read_bytes() == before
    assert answers(run, white) == ["White"] * 4
    assert "White" not in answers(run, photos / "test")
    after = evaluate_run(run, EvalRequest("test"), quiet())
    assert after["classes"] == 4
    assert after["branches"]["final"]["top1"] == pytest.approx(result["branches"]["final"]["top1"])
    new = tmp_path / "new"
    shutil.copytree(white, new / "white")
    photos_of_it = evaluate_run(run, EvalRequest(None, root=new, name="new"), quiet())
    assert photos_of_it["branches"]["final"]["top1"] == 1
    assert remove(run, "white") == 3
    assert run.classes() == ("blue", "green", "red")
    one, two = load_file(run.versions / "0001.safetensors"), load_file(run.model_file)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("head", ["knn", "prototype"])
def test_more_images_of_a_known_class(photos, tmp_path, head) -> None:
    """Training on half and enrolling the rest is training on all."""
    whole = trained(photos, tmp_path / "whole", head)
    half = tmp_path / "half"
    shutil.copytree(photos, half)
    rest = tmp_path / "rest"
    rest.mkdir()
    for number in range(4, 8):
        (half / f"train/red/{number}.png").rename(rest / f"{number}.png")
    run = trained(half, tmp_path / "run", head)
    assert add(run, "RED", find_pictures([str(rest)])) == 3
    one, two = load_file(whole.model_file), load_file(run.model_file)
    if head == "prototype":
        assert torch.allclose(one["head.centroids"], two["head.centroids"], atol=1e-5)
        assert torch.equal(one["head.counts"], two["head.counts"])
    else:
        assert torch.equal(one["head.gallery_labels"].sort().values, two["head.gallery_labels"].sort().values)
    assert answers(whole, photos / "test") == answers(run, photos / "test")


def test_a_forgotten_class_of_the_data_is_left_out(photos, tmp_path) -> None:
    run = trained(photos, tmp_path / "run", "prototype")
    assert remove(run, "green") == 2
    result = evaluate_run(run, EvalRequest("test"), quiet())
    assert (result["images"], result["classes"]) == (6, 2)
    with pytest.raises(BadRequest, match="2 classes"):
        remove(run, "red")


def test_bad_requests_change_nothing(photos, white, tmp_path) -> None:
    run = trained(photos, tmp_path / "run", "linear")
    before = (run.path / "model.safetensors").read_bytes()
    for name, words in (("White", "learns a class by training only"), ("", "needs a name"), ("a\nb", "needs a name")):
        with pytest.raises(BadRequest, match=words):
            add(run, name, find_pictures([str(white)]))
    with pytest.raises(BadRequest, match="has no class 'nothing'"):
        remove(run, "nothing")
    with pytest.raises(BadRequest, match="learns a class by training only"):
        remove(run, "blue")
    assert (run.path / "model.safetensors").read_bytes() == before
    assert not run.versions.exists()


def test_an_unreadable_image_changes_nothing(photos, white, tmp_path) -> None:
    run = trained(photos, tmp_path / "run", "knn")
    (white / "bad.png").write_bytes(b"no image")
    with pytest.raises(Exception, match=r"bad\.png"):
        add(run, "White", find_pictures([str(white)]))
    assert run.classes() == ("blue", "green", "red")
    assert not run.versions.exists()
