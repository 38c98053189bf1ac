"""Ensembles: the mean of what single runs answer, and runs that cannot answer together."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from fgvc_cli.errors import BadRequest
from fgvc_cli.evaluation.ensemble import MeanAnswer, measure_ensemble
from fgvc_cli.inference.look import look, open_model
from fgvc_cli.inference.pictures import find_pictures
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.conftest import small_spec

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Two methods with their own image sizes."""
    folder = tmp_path_factory.mktemp("ensemble")
    specs = {
        "plain": small_spec(photos, "baseline", "train.epochs=1"),
        "larger": small_spec(photos, "reaps", "train.epochs=1", "data.image_size=40", "data.resize=40"),
    }
    for name, spec in specs.items():
        train(spec, folder / name, QUIET)
    return [RunFolder(folder / name) for name in specs]


def test_the_mean_of_what_the_runs_answer_alone(runs: list[RunFolder], photos: Path, tmp_path: Path) -> None:
    measured = measure_ensemble(runs, EvalRequest("test"), QUIET)
    saved = measured.save(runs[0], tmp_path)
    pictures = find_pictures([str(photos / "test")])
    alone = [torch.cat([seen.probabilities for seen in look(open_model(run.path), pictures)]) for run in runs]
    shares = {"/".join(picture.file.parts[-2:]): row for picture, row in zip(pictures, sum(alone) / 2, strict=True)}
    assert saved["images"] == len(shares)
    with (tmp_path / saved["files"]["predictions"]).open() as file:
        for row in csv.DictReader(file):
            one = shares["/".join(Path(row["image"]).parts[-2:])]
            assert float(row["probability"]) == pytest.approx(float(one.max()), abs=1e-5)
            assert row["predicted"] == measured.classes[int(one.argmax())]
    for run in runs:
        assert saved["branches"][run.name]["top1"] == run.evaluation("test")["branches"]["final"]["top1"]
    assert runs[0].evaluation("test")["method"] == "baseline", "the run's own results are left alone"


def test_probabilities_of_nought_stay_finite() -> None:
    output = MeanAnswer(["a", "b"])(torch.tensor([[1.0, 0.0, 1.0, 0.0]]))
    assert output.logits.exp() == pytest.approx(torch.tensor([[1.0, 0.0]]))
    assert torch.isfinite(output.logits).all()


def test_runs_that_cannot_answer_together(runs: list[RunFolder], photos: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="name two or more runs"):
        measure_ensemble(runs[:1], EvalRequest(), QUIET)
    with pytest.raises(BadRequest, match="--unknown is measured of a single run"):
        measure_ensemble(runs, EvalRequest(unknown="left-out"), QUIET)
    less = small_spec(photos, "baseline", "train.epochs=1", "data.limit_test=4")
    train(less, tmp_path / "less", QUIET)
    with pytest.raises(BadRequest, match="have other test images"):
        measure_ensemble([runs[0], RunFolder(tmp_path / "less")], EvalRequest("test"), QUIET)
