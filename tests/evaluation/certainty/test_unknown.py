"""Unknown classes in an evaluation: what is looked at, and what is refused before anything is."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.splits import apply_spec
from fgvc_cli.errors import BadRequest
from fgvc_cli.evaluation import evaluate
from fgvc_cli.evaluation.certainty import unknown
from fgvc_cli.inference.look import open_model
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.conftest import small_spec
from tests.making import mk

QUIET = Console(file=StringIO())


@pytest.fixture(scope="module", params=METHOD_SPECS)
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory, request) -> RunFolder:
    out = tmp_path_factory.mktemp("unknown") / "run"
    sets = ["data.val_fraction=0.5", "data.leave_out=1", "train.epochs=1"]
    train(small_spec(photos, request.param, *sets), out, QUIET)
    return RunFolder(out)


def test_the_split_is_looked_at_once_and_as_anywhere_else(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    real = unknown.seen

    def seen(model: unknown.Model, pictures: Sequence[Picture], reporter: Reporter) -> unknown.Seen:
        looked.append(len(pictures))
        return real(model, pictures, reporter)

    monkeypatch.setattr(unknown, "seen", seen)
    model, reporter = open_model(run.path), Reporter(QUIET)
    images = model.open_images(QUIET)
    unknown.open_detector(model, reporter, images.index)
    looked.clear()
    found = evaluate.measure_run(run, EvalRequest(unknown="left-out", localisation=False), QUIET).result["unknown"]
    assert looked == ([len(images.split)] if model.spec.embeds_once else []) + [found["images"]]
    again = unknown.measure_unknown(model, images.index, images.split, images.name, "left-out", reporter)
    for score, measures in again["scores"].items():
        assert found["scores"][score] == pytest.approx(measures, abs=1e-6), score


def test_more_classes_left_out_than_learnt(tmp_path: Path) -> None:
    mk(tmp_path, "auk=6", "finch=6", "robin=6", "tern=6", "wren=6")
    spec = DataSpec.model_validate({"dataset": "folder", "root": tmp_path, "leave_out": "auk,robin,wren"})
    index = apply_spec(load_index(spec), spec)
    found = unknown.unknown_pictures(index, "test", "left-out", Reporter(QUIET))
    assert {picture.name.split("/")[0] for picture in found} == {"auk", "robin", "wren"}
    assert {picture.label for picture in found} == {None}


def test_what_cannot_be_measured_is_said_before_the_evaluation(
    run: RunFolder, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(small_spec(photos, "baseline", "data.leave_out=1", "train.epochs=1"), tmp_path / "run", QUIET)

    def never(*_: object) -> None:
        raise AssertionError("the split was evaluated")

    monkeypatch.setattr(evaluate, "run_through", never)
    with pytest.raises(BadRequest, match="there is no folder nowhere"):
        evaluate.measure_run(run, EvalRequest(unknown="nowhere"), QUIET)
    with pytest.raises(BadRequest, match="needs a validation split"):
        evaluate.measure_run(RunFolder(tmp_path / "run"), EvalRequest(unknown="left-out"), QUIET)
