"""Runs on features that are computed once: fitted at once, or trained by epochs on a frozen network."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fgvc_cli.errors import BadRequest
from fgvc_cli.evaluation.evaluate import evaluate_run
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.look import look, open_model
from fgvc_cli.inference.pictures import find_pictures
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.inference.trained import load_trained
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import Machine, resume, train
from tests.conftest import small_spec


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def quiet() -> Console:
    return Console(file=io.StringIO(), width=300)


def rows_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((run / "metrics.csv").read_text())))


@pytest.mark.parametrize("head", ["linear", "knn", "prototype"])
@pytest.mark.parametrize("val", [0.0, 0.25])
def test_a_probe_is_a_run_like_any_other(photos, tmp_path, head, val) -> None:
    out, console = tmp_path / "run", quiet()
    spec = small_spec(photos, "probe", f"method.head={head}", f"data.val_fraction={val}")
    result = train(spec, out, console)
    assert result["images"] == 9
    assert RunFolder(out).spec() == spec
    (row,) = rows_of(out)
    assert (row["epoch"], row["step"]) == ("0", "1")
    assert ("val_top1" in row) == (val > 0)
    calibrated = json.loads((out / "calibration.json").read_text())
    assert (calibrated["split"], calibrated["by_folds"]) == (("val", False) if val else ("train", True))
    assert calibrated["images"] == (6 if val else 24)
    assert load_trained(out / "model.safetensors").temperature == calibrated["temperature"]
    asked = EvalRequest("test", target_precision=0.1, set_coverage=0.5)
    target = evaluate_run(RunFolder(out), asked, quiet())["target"]
    assert (target["validation_images"], target["images"]) == (
        (6, "validation images") if val else (24, "training images by folds")
    )
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    known = {"run.json", "classes.json", "environment.json", "metrics.csv", "events", "eval", "model.safetensors"}
    assert names - {"splits.json", "calibration.json", "validation.safetensors"} == known
    on_images = evaluate_run(RunFolder(out), EvalRequest("test", localisation=True), quiet())
    assert on_images["branches"] == result["branches"]
    evaluate_run(RunFolder(out), EvalRequest("test"), quiet())
    (seen,) = look(open_model(out), find_pictures([str(photos / "test")])[:3], evidence=True)
    assert seen.output.evidence is not None
    before = (out / "model.safetensors").read_bytes()
    again = quiet()
    assert resume(out, Machine(), again) == result
    assert "already trained and evaluated" in again.file.getvalue()
    assert (out / "model.safetensors").read_bytes() == before


def test_killed_in_the_features_and_resumed_gives_the_same_run(photos, tmp_path, monkeypatch) -> None:
    spec = small_spec(photos, "probe", "train.eval_batch_size=4")
    train(spec, tmp_path / "whole", quiet())
    shutil.rmtree(tmp_path / "cache")
    whole, done = Embedder._vectors, []

    def dying(self, batch):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(len(batch.images))
        return whole(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "_vectors", dying)
        with pytest.raises(Exception, match=r"the features computed so far are kept: .*--resume"):
            train(spec, tmp_path / "run", quiet())
    done.clear()
    resume(tmp_path / "run", Machine(), quiet())
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    results = [json.loads((tmp_path / name / "eval/test.json").read_text()) for name in ("whole", "run")]
    assert results[0]["branches"] == results[1]["branches"]


def test_a_frozen_network_trains_on_features(photos, tmp_path, monkeypatch) -> None:
    sets = ("backbone.freeze=all", "method.pool=network", "data.val_fraction=0.25", "train.epochs=4")
    spec = small_spec(photos, "baseline", *sets)
    shown: list[int] = []
    whole = Embedder._vectors
    monkeypatch.setattr(
        Embedder, "_vectors", lambda self, batch: (shown.append(len(batch.images)), whole(self, batch))[1]
    )
    result = train(spec, tmp_path / "run", quiet())
    assert len(rows_of(tmp_path / "run")) == 4
    assert sum(shown) == 24 + 9  # each image once: train with val, and test
    on_images = evaluate_run(RunFolder(tmp_path / "run"), EvalRequest("test", localisation=True), quiet())
    assert on_images["branches"] == result["branches"]
    train(small_spec(photos, "baseline", *sets, "optim.lr=0.1"), tmp_path / "other", quiet())
    assert sum(shown) == 24 + 9


def test_its_epochs_are_those_of_images_without_augmentation(photos, tmp_path) -> None:
    """The same order, losses and weights as by showing the images, but for rounding."""
    plain = ("backbone.freeze=all", "method.pool=network", "data.flip=false", "data.resize=32")
    train(small_spec(photos, "baseline", *plain), tmp_path / "features", quiet())
    mixed = (*plain, "regularise.mixup_alpha=1", "regularise.mix_probability=1e-300")  # mixing needs images
    train(small_spec(photos, "baseline", *mixed), tmp_path / "images", quiet())
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("features", "images"))
    assert all(torch.allclose(a[name].float(), b[name].float(), atol=1e-4) for name in a)


def test_views_are_drawn_by_seed_epoch_and_image(photos, tmp_path) -> None:
    sets = ("backbone.freeze=all", "method.pool=network", "backbone.views=2")
    train(small_spec(photos, "baseline", *sets), tmp_path / "a", quiet())
    train(small_spec(photos, "baseline", *sets), tmp_path / "b", quiet())
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    train(small_spec(photos, "probe", "backbone.views=2"), tmp_path / "probe", quiet())


def test_fine_tuning_may_start_from_a_probe(photos, tmp_path) -> None:
    console = quiet()
    sets = ("backbone.probe_first=true", "method.pool=network", "train.epochs=1", "optim.lr=1e-9")
    train(small_spec(photos, "baseline", *sets), tmp_path / "run", console)
    assert "strength" in console.file.getvalue()
    train(small_spec(photos, "probe"), tmp_path / "probe", quiet())
    tuned, probe = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "probe"))
    assert torch.allclose(tuned["classifier.weight"], probe["head.classifier.weight"], atol=1e-4)


@pytest.mark.parametrize(
    ("method", "sets", "words"),
    [
        ("probe", ["backbone.freeze=none"], "fitted to frozen features: backbone.freeze must be all"),
        ("probe", ["backbone.plain_epochs=3"], "fitted at once: backbone.plain_epochs must be 0"),
        ("baseline", ["backbone.views=3"], "backbone.views needs backbone.freeze all"),
        ("probe", ["method.folds=1"], "method.folds"),
        ("probe", ["method.strengths=[]"], "method.strengths"),
        ("probe", ["method.strengths=[0]"], "method.strengths"),
    ],
)
def test_bad_requests(photos, method, sets, words) -> None:
    with pytest.raises(BadRequest, match=words):
        small_spec(photos, method, *sets)


def test_one_class_is_refused_before_anything_is_made(photos, tmp_path) -> None:
    one = tmp_path / "one"
    shutil.copytree(photos / "train/red", one / "red")
    with pytest.raises(BadRequest):
        train(small_spec(one, "probe"), tmp_path / "run", quiet())
    assert not (tmp_path / "run").exists()
