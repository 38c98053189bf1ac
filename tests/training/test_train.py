"""A run from start to end, stopped, killed and resumed; every method through the same tests."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.evaluation.evaluate import evaluate_run
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.inference.trained import load_trained
from fgvc_cli.machine.interrupt import Stopped
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.journal import COSTS
from fgvc_cli.terminal import Console
from fgvc_cli.training import epoch as epoch_module
from fgvc_cli.training import session as session_module
from fgvc_cli.training.session import Averages, Session
from fgvc_cli.training.train import Machine, resume, train
from tests.conftest import STEPPED, small_spec

METHODS = STEPPED


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def rows_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((run / "metrics.csv").read_text())))


def assert_same_run(a: Path, b: Path) -> None:
    """Bit-equal weights and equal metrics, costs aside."""
    one, two = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    assert list(one) == list(two)
    for name in one:
        assert torch.equal(one[name], two[name]), name
    drop = lambda row: {key: value for key, value in row.items() if key not in COSTS}  # noqa: E731
    assert list(map(drop, rows_of(a))) == list(map(drop, rows_of(b)))
    assert (
        json.loads((a / "eval/test.json").read_text())["branches"]
        == json.loads((b / "eval/test.json").read_text())["branches"]
    )


class Killed(BaseException):
    """Stands for kill -9: nothing between it and the top may save anything."""


def kill_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Die at the beginning of the step after `steps`."""
    whole = epoch_module._train_batch
    done = 0

    def dying(*args):
        nonlocal done
        if done == steps:
            raise Killed
        done += 1
        return whole(*args)

    monkeypatch.setattr(epoch_module, "_train_batch", dying)


@pytest.fixture(scope="module", params=METHODS)
def undisturbed(request, photos, tmp_path_factory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("undisturbed") / request.param
    train(small_spec(photos, request.param), out, quiet())
    return request.param, out


def test_a_run_folder_is_the_whole_truth(undisturbed, photos) -> None:
    method, out = undisturbed
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert names == {
        "run.json",
        "classes.json",
        "environment.json",
        "metrics.csv",
        "events",
        "eval",
        "checkpoints",
        "model.safetensors",
    }
    assert json.loads((out / "classes.json").read_text()) == ["blue", "green", "red"]
    assert RunFolder(out).spec() == small_spec(photos, method)
    rows = rows_of(out)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [row["step"] for row in rows] == ["4", "8"]
    result = json.loads((out / "eval/test.json").read_text())
    assert result["images"] == 9
    assert next(iter(result["branches"])) == "final"
    losses = [key for key in rows[0] if key.startswith("train_") and key not in ("train_loss", "train_top1")]
    assert float(rows[0]["train_loss"]) == pytest.approx(sum(float(rows[0][key]) for key in losses), rel=1e-5)


def test_the_model_file_alone_predicts(undisturbed, tmp_path) -> None:
    _, out = undisturbed
    alone = shutil.copy(out / "model.safetensors", tmp_path / "model.safetensors")
    trained = load_trained(Path(alone))
    assert trained.classes == ("blue", "green", "red")
    assert trained.epoch == 2
    with torch.no_grad():
        assert trained.method(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 3)


@pytest.mark.parametrize("steps", [0, 2, 4, 6])
def test_killed_and_resumed_gives_the_same_weights(undisturbed, photos, tmp_path, monkeypatch, steps) -> None:
    method, whole = undisturbed
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        kill_after(patch, steps)
        with pytest.raises(Killed):
            train(small_spec(photos, method), out, quiet())
    resume(out, Machine(), quiet())
    assert_same_run(whole, out)


def test_killed_between_the_row_and_the_checkpoint(photos, tmp_path, monkeypatch) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    train(small_spec(photos), whole, quiet())

    def dies(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(session_module, "save_checkpoint", dies)
        with pytest.raises(Killed):
            train(small_spec(photos), out, quiet())
    assert len(rows_of(out)) == 1
    resume(out, Machine(), quiet())
    assert_same_run(whole, out)


@pytest.mark.parametrize("workers", [0, 2])
def test_stopped_in_mid_epoch_with_another_number_of_workers(
    undisturbed, photos, tmp_path, monkeypatch, workers
) -> None:
    method, whole = undisturbed
    out = tmp_path / "a run"
    step = epoch_module._train_batch

    def asking(session, batch, total):
        stepped = step(session, batch, total)
        if session.position.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return stepped

    with monkeypatch.context() as patch:
        patch.setattr(epoch_module, "_train_batch", asking)
        with pytest.raises(Stopped, match=f"step 3; resume with: fgvc train --resume '{out}'") as caught:
            train(small_spec(photos, method), out, quiet())
    assert caught.value.exit_code == 130
    assert RunFolder(out).checkpoint_steps() == [3]
    resume(out, Machine(workers=workers), quiet())
    assert_same_run(whole, out)


def test_accumulation_equals_the_large_batch(photos, tmp_path) -> None:
    """Without BatchNorm in training mode the mean gradient of two halves is the gradient of the whole."""
    sets = ["train.epochs=1", "data.limit_train=12", "optim.lr=0.001", "optim.warmup_epochs=0"]
    spec = small_spec(photos, "baseline", "backbone.name=timm:convnext_atto", *sets)
    big = spec.model_copy(update={"train": spec.train.model_copy(update={"batch_size": 12})})
    parts = spec.model_copy(
        update={
            "train": spec.train.model_copy(update={"batch_size": 6}),
            "optim": spec.optim.model_copy(update={"accumulate": 2}),
        }
    )
    train(big, tmp_path / "big", quiet())
    train(parts, tmp_path / "parts", quiet())
    one, two = load_file(tmp_path / "big/model.safetensors"), load_file(tmp_path / "parts/model.safetensors")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6)
    assert rows_of(tmp_path / "parts")[0]["step"] == "1"


def test_the_best_epoch_of_the_held_out_part_is_kept(photos, tmp_path, monkeypatch) -> None:
    scores = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr(epoch_module, "_validate", lambda *_: {"val_top1": next(scores)})
    train(small_spec(photos, "baseline", "data.val_fraction=0.25", "train.epochs=3"), tmp_path / "run", quiet())
    assert load_trained(tmp_path / "run/model.safetensors").epoch == 2
    assert (tmp_path / "run/splits.json").exists()


def test_the_held_out_part_is_measured_and_can_be_evaluated(photos, tmp_path) -> None:
    train(small_spec(photos, "baseline", "data.val_fraction=0.25", "train.epochs=1"), tmp_path / "run", quiet())
    row = rows_of(tmp_path / "run")[0]
    result = evaluate_run(RunFolder(tmp_path / "run"), EvalRequest("val"), quiet())
    assert result["images"] == 6
    assert float(row["val_top1"]) == result["branches"]["final"]["top1"]


def test_checkpoints_between_epochs(photos, tmp_path, monkeypatch) -> None:
    saved: list[int] = []
    whole = session_module.save_checkpoint
    monkeypatch.setattr(session_module, "save_checkpoint", lambda *a: (saved.append(a[1]), whole(*a)))
    train(
        small_spec(photos, "baseline", "train.checkpoint_every=3", "train.keep_checkpoints=2"),
        tmp_path / "run",
        quiet(),
    )
    assert saved == [3, 4, 6, 8]
    assert RunFolder(tmp_path / "run").checkpoint_steps() == [6, 8]


@pytest.mark.parametrize(
    "sets",
    [["train.precision=bf16"], ["train.precision=fp16"], ["optim.clip_norm=0.5"], ["optim.optimizer.name=adamw"]],
)
@pytest.mark.parametrize("method", METHODS)
def test_settings_that_change_a_step(photos, tmp_path, method, sets) -> None:
    result = train(small_spec(photos, method, "train.epochs=1", *sets), tmp_path / "run", quiet())
    assert result["images"] == 9


def test_a_loss_that_is_not_finite_stops_the_run(photos, tmp_path) -> None:
    with pytest.raises(FgvcError, match=r"no longer finite .*smaller --lr"):
        train(small_spec(photos, "baseline", "optim.lr=1e30", "train.epochs=3"), tmp_path / "run", quiet())


def test_averages_weigh_images_and_read_once() -> None:
    averages = Averages()
    averages.add({"loss": torch.tensor(1.0)}, 3)
    averages.add({"loss": torch.tensor(5.0)}, 1)
    assert averages.totals == {}
    assert averages.flush() == {"loss": 2.0}


def test_a_finished_run_has_nothing_left_to_do(undisturbed) -> None:
    _, out = undisturbed
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert resume(out, Machine(), quiet())["images"] == 9
    assert (out / "model.safetensors").stat().st_mtime_ns == before


def test_an_evaluation_beside_the_training_is_not_taken_for_the_last(photos, tmp_path, monkeypatch) -> None:
    """Somebody looks how far it is while it trains: the end is measured all the same."""
    out, select = tmp_path / "run", epoch_module._select

    def looking(session, epoch, score):
        select(session, epoch, score)
        if epoch == 0:
            evaluate_run(RunFolder(out), EvalRequest(), quiet(), session.index)

    monkeypatch.setattr(epoch_module, "_select", looking)
    assert train(small_spec(photos), out, quiet())["epoch"] == 2


def test_an_evaluation_of_a_stopped_run_is_not_taken_for_the_last(undisturbed, photos, tmp_path, monkeypatch) -> None:
    method, whole = undisturbed
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        kill_after(patch, 6)
        with pytest.raises(Killed):
            train(small_spec(photos, method), out, quiet())
    assert evaluate_run(RunFolder(out), EvalRequest("test"), quiet())["epoch"] == 1
    assert resume(out, Machine(), quiet())["epoch"] == 2
    assert_same_run(whole, out)


def test_requests_that_cannot_be_met(photos, tmp_path, undisturbed) -> None:
    _, out = undisturbed
    with pytest.raises(BadRequest, match="holds a run: continue"):
        train(small_spec(photos), out, quiet())
    with pytest.raises(BadRequest, match="there is no run at"):
        resume(tmp_path / "none", Machine(), quiet())
    (tmp_path / "thing").write_text("x")
    with pytest.raises(BadRequest, match="exists and is not a run"):
        train(small_spec(photos), tmp_path / "thing", quiet())
    with pytest.raises(BadRequest, match="has no val split"):
        evaluate_run(RunFolder(out), EvalRequest("val"), quiet())
    with RunFolder(out).locked(), pytest.raises(BadRequest, match="another process is writing"):
        resume(out, Machine(), quiet())


def test_two_that_begin_in_one_place_do_not_mix(photos, tmp_path, monkeypatch) -> None:
    """The second passed the first look while the first was still reading its data."""
    out, build = tmp_path / "run", Session.build

    def overtaken(*arguments, **more):
        session = build(*arguments, **more)
        monkeypatch.setattr(Session, "build", build)
        train(small_spec(photos), out, quiet())
        return session

    monkeypatch.setattr(Session, "build", overtaken)
    with pytest.raises(BadRequest, match="holds a run: continue"):
        train(small_spec(photos, "baseline", "train.epochs=9"), out, quiet())
    assert RunFolder(out).spec().train.epochs == 2


def test_other_classes_than_the_models_are_refused(undisturbed, tmp_path, photos) -> None:
    _, out = undisturbed
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    for split in ("train", "test"):
        (other / split / "red").rename(other / split / "crimson")
    with pytest.raises(BadRequest, match=r"does not know 1 of 3 classes: 'crimson'"):
        evaluate_run(RunFolder(out), EvalRequest("test", root=other), quiet())


def test_weights_of_a_run_start_another(undisturbed, photos, tmp_path) -> None:
    method, out = undisturbed
    train(
        small_spec(photos, method, "train.epochs=1", f"backbone.weights={out}", "optim.lr=1e-9"),
        tmp_path / "run",
        quiet(),
    )
    before, after = (load_file(folder / "model.safetensors") for folder in (out, tmp_path / "run"))
    assert before.keys() == after.keys()
    for name in before:
        if "running" not in name and "tracked" not in name:  # BatchNorm's statistics go on moving at any rate
            torch.testing.assert_close(after[name], before[name], rtol=1e-4, atol=1e-5)
