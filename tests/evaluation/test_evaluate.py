"""An evaluation against what scikit-learn says of the model's own logits, and the files it leaves."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, f1_score

from fgvc_cli import files
from fgvc_cli.data.loading.to_device import to_device
from fgvc_cli.data.types import Batch
from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.confusion import read_classes
from fgvc_cli.evaluation.counting.measures import Measures
from fgvc_cli.evaluation.evaluate import evaluate, evaluate_run
from fgvc_cli.evaluation.localisation import Localisation, TellingParts
from fgvc_cli.evaluation.predictions import read_predictions
from fgvc_cli.inference.dataset import evaluation_loader, open_index
from fgvc_cli.inference.opened import open_trained
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.methods.base import Boxes, Evidence, Maps, Output
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.conftest import small_spec


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory) -> RunFolder:
    out = tmp_path_factory.mktemp("run") / "run"
    train(small_spec(photos, "reaps", "train.epochs=1", "train.eval_batch_size=4"), out, quiet())
    return RunFolder(out)


def predictions(run: RunFolder) -> tuple[np.ndarray, np.ndarray]:
    """Labels and final predictions of the test split, image by image."""
    opened = open_trained(run, EvalRequest(), quiet())
    labels, predicted = [], []
    with torch.inference_mode():
        for batch in evaluation_loader(opened.index, opened.index.test, opened.spec, opened.device).epoch(0):
            batch = to_device(batch, opened.device, opened.spec.data.mean, opened.spec.data.std)
            labels.append(batch.labels)
            predicted.append(opened.trained.method(batch.images).logits.argmax(1))
    return torch.cat(labels).numpy(), torch.cat(predicted).numpy()


TABLES = ("classes.csv", "confusion.csv", "predictions.csv", "confusion.png", "selective.csv", "selective.png")


def test_the_files_tell_what_was_predicted(run) -> None:
    result = evaluate_run(run, EvalRequest(), quiet())
    labels, predicted = predictions(run)
    with (run.path / result["files"]["confusion"]).open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[1:] == ["blue", "green", "red"]
    np.testing.assert_array_equal([list(map(int, row[1:])) for row in rows], confusion_matrix(labels, predicted))
    final = result["branches"]["final"]
    assert final["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert set(result["branches"]) > {"final", "ran"}
    names = np.array(["blue", "green", "red"])
    rows_of_images = read_predictions(run.path / result["files"]["predictions"])
    assert [row.image for row in rows_of_images] == list(open_index(run, run.spec().data, quiet()).test.files)
    assert [row.true for row in rows_of_images] == names[labels].tolist()
    assert [row.predicted for row in rows_of_images] == names[predicted].tolist()
    table = read_classes(run.path / result["files"]["classes"])
    assert [row["images"] for row in table] == [3, 3, 3]
    np.testing.assert_allclose([row["f1"] for row in table], f1_score(labels, predicted, average=None))
    assert result["worst_classes"] == sorted(table, key=lambda row: row["f1"])
    assert sum(pair["images"] for pair in result["confusions"]) == (labels != predicted).sum()
    with Image.open(run.path / result["files"]["picture"]) as image:
        assert min(image.size) > 300


def test_what_is_returned_is_what_is_kept(run) -> None:
    result = evaluate_run(run, EvalRequest(), quiet())
    assert json.loads((run.path / "eval/test.json").read_text()) == result
    names = {path.name for path in (run.path / "eval").iterdir()}
    assert names == {"test.json", *(f"test-{name}" for name in TABLES)}


@pytest.mark.parametrize("size", [1, 5, 9, 64])
def test_the_batch_size_makes_no_difference(run, size) -> None:
    one = evaluate_run(run, EvalRequest(batch_size=size), quiet())
    two = evaluate_run(run, EvalRequest(batch_size=4), quiet())
    assert one["branches"] == two["branches"]
    assert one["confusions"] == two["confusions"]
    assert one["calibration"]["ece"] == pytest.approx(two["calibration"]["ece"], abs=1e-5)
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)


def test_nothing_is_read_from_the_device_in_a_pass() -> None:
    """Tensors on the meta device have no values: whatever needed one would raise."""
    with torch.device("meta"):
        parts = TellingParts(torch.ones(5, 4, 3), torch.ones(5), torch.ones(7, 4, dtype=torch.int64))
        located = Localisation(torch.ones(4), parts)
        box = Boxes(torch.ones(5, 2, 4), torch.ones(5, 2), torch.ones(5, 2, dtype=torch.bool))
        evidence = Evidence({"map": Maps("cam", torch.ones(5, 1, 3, 3), torch.ones(5, 4))}, {"box": box})
        output = Output(torch.ones(5, 7), {"branch": torch.ones(5, 7)}, {}, evidence)
        places = torch.ones(5, dtype=torch.int64)
        batch = Batch(torch.ones(5, 3, 8, 8), places, places, torch.ones(5, 2, 3), torch.ones(5, 4))
    measures = Measures(7, torch.device("meta"), located, temperature=2.0)
    for _ in range(2):
        measures.update(output, batch)
    assert measures.images == 10


def test_the_short_form_that_training_uses(run) -> None:
    opened = open_trained(run, EvalRequest(), quiet())
    loader = evaluation_loader(opened.index, opened.index.test, opened.spec, opened.device)
    result = evaluate(opened.trained.method, loader, opened.spec, 3, opened.device, Reporter(quiet()))
    assert set(result) == {"images", "loss", "branches", "calibration"}
    assert set(result["branches"]["final"]) == {"top1", "top5", "mean_per_class", "macro_f1"}


def test_a_full_disk_leaves_the_last_evaluation(run, monkeypatch) -> None:
    evaluate_run(run, EvalRequest(), quiet())
    folder = run.path / "eval"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(FgvcError, match="the disk is full"):
        evaluate_run(run, EvalRequest(), quiet())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
