"""A trained model looks at pictures."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.find import evidence_of, methods_with, newest_model
from fgvc_cli.inference.look import look, open_model
from fgvc_cli.inference.pictures import find_pictures, split_pictures
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.methods.base import Evidence
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.presets import load_preset
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.conftest import small_spec

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "reaps-photos"
    train(small_spec(photos, "reaps", "method.units=8", "train.epochs=1"), path, QUIET)
    return path


def test_a_file_alone_predicts_what_its_run_does(run: Path, photos: Path, tmp_path: Path) -> None:
    alone = tmp_path / "finches.safetensors"
    shutil.copy(run / "model.safetensors", alone)
    of_run, of_file = open_model(run), open_model(alone)
    assert (of_run.name, of_file.name) == ("reaps-photos", "finches.safetensors")
    assert of_run.run is not None
    assert of_file.run is None
    pictures = find_pictures([str(photos / "test")])
    seen = [list(look(model, pictures, evidence=True, originals=True)) for model in (of_run, of_file)]
    assert [len(part.pictures) for part in seen[0]] == [5, 4]
    for first, second in zip(*seen, strict=True):
        torch.testing.assert_close(first.output.logits, second.output.logits)
        torch.testing.assert_close(first.probabilities.sum(1), torch.ones(len(first.pictures)))
        assert first.output.evidence is not None
        assert not first.output.logits.requires_grad


def test_split_and_gradients(run: Path) -> None:
    model = open_model(run, EvalRequest(batch_size=3))
    images = model.open_images(QUIET)
    pictures = split_pictures(images.index, images.split, model.classes)
    seen = next(look(model, pictures, evidence=True, gradients=True))
    assert seen.batch.labels.tolist() == [picture.label for picture in pictures[:3]]
    assert seen.output.evidence is not None
    head = seen.output.evidence.heads["ran"]
    (gradient,) = torch.autograd.grad(seen.output.branches["ran"][:, 0].sum(), head.map)
    assert gradient.abs().sum() > 0


def test_the_newest_run_with_the_evidence(run: Path, photos: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("older", "plain", "damaged")):
        shutil.copytree(run, tmp_path / name)
        os.utime(tmp_path / name / "model.safetensors", (number, number))
    RunFolder(tmp_path / "plain").create(small_spec(photos))
    (tmp_path / "damaged" / "run.json").write_text("{")
    assert newest_model(folder=tmp_path) == tmp_path / "damaged"
    assert newest_model(lambda evidence: bool(evidence.heads), folder=tmp_path) == tmp_path / "plain"
    assert newest_model(lambda evidence: bool(evidence.boxes), folder=tmp_path) == tmp_path / "older"
    with pytest.raises(BadRequest, match=r"has part relations: train one, .*--method scapnet --dataset demo`, or"):
        newest_model(lambda evidence: bool(evidence.relations), "part relations", tmp_path)
    with pytest.raises(BadRequest, match="no trained run under"):
        newest_model(folder=tmp_path / "nothing")


def test_boxes_in_the_original_image(run: Path, tmp_path: Path) -> None:
    """Resized to 36 × 36, cropped to the middle 32: two pixels are cut off on each side."""
    Image.new("RGB", (72, 18)).save(tmp_path / "wide.png")
    seen = next(look(open_model(run), find_pictures([str(tmp_path / "wide.png")])))
    boxes = torch.tensor([[[0.0, 0, 32, 32], [-4, 10, 16, 40]]])
    expected = torch.tensor([[[4.0, 1, 68, 17], [0, 6, 36, 18]]])
    torch.testing.assert_close(seen.original_boxes(boxes), expected)


def test_shapes_of_evidence_need_no_weights() -> None:
    evidence = evidence_of(load_preset("apcnn-cub"), 200)
    assert evidence.boxes["p3"].xyxy.shape == (1, 5, 4)
    assert evidence.boxes["p3"].xyxy.device.type == "meta"


def test_methods_with_evidence() -> None:
    assert methods_with(lambda evidence: bool(evidence.relations)) == ["scapnet"]

    def channels(evidence: Evidence) -> bool:
        return any(maps.kind == "channels" and maps.classes is not None for maps in evidence.maps.values())

    assert methods_with(channels) == ["tdsa", "mc"]


def test_no_run_and_no_model(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="there is no run at"):
        open_model(tmp_path / "nothing")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(BadRequest, match="is not a model saved by fgvc"):
        open_model(tmp_path / "model.safetensors")
