"""Runs that end before their last epoch: patience, and numbers that are no longer finite."""

from __future__ import annotations

import io
import math
import random

import pytest
import torch
from safetensors.torch import load_file

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.inference.trained import load_trained
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.training import epoch as epoch_module
from fgvc_cli.training import train as train_module
from fgvc_cli.training.learner import Learner, batch_norm_explained
from fgvc_cli.training.train import Machine, resume, train
from tests.conftest import small_spec
from tests.training.test_train import Killed, assert_same_run, kill_after, quiet, rows_of

SCORES = [0.5, 0.9, 0.9, 0.8, 1.0]  # equal is not better: patience 2 ends after the fourth
PATIENT = ("data.val_fraction=0.25", "train.epochs=9", "train.patience=2")


def stub_scores(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        epoch_module, "_validate", lambda session, _: {"val_loss": 1.0, "val_top1": SCORES[session.position.epoch]}
    )


@pytest.fixture(scope="module")
def stopped(photos, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("patience") / "run", io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        stub_scores(patch)
        train(small_spec(photos, "baseline", *PATIENT), out, Console(file=said, width=200))
    return out, said.getvalue()


def test_patience_ends_a_run_and_the_best_epoch_is_its_model(stopped) -> None:
    out, said = stopped
    assert [row["epoch"] for row in rows_of(out)] == ["0", "1", "2", "3"]
    assert load_trained(out / "model.safetensors").epoch == 2
    assert (out / "eval/test.json").exists()
    assert "stopped early after epoch 4: val_top1 has not exceeded 90.0 % for 2 epochs" in said


def test_a_run_that_stopped_early_is_finished(stopped) -> None:
    out, _ = stopped
    resume(out, Machine(), quiet())
    assert len(rows_of(out)) == 4
    assert RunFolder(out).checkpoint_steps() == [12]


def test_killed_before_its_last_evaluation_it_only_evaluates(stopped, photos, tmp_path, monkeypatch) -> None:
    def dies(*_):
        raise Killed

    stub_scores(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "evaluate_run", dies)
        with pytest.raises(Killed):
            train(small_spec(photos, "baseline", *PATIENT), tmp_path / "run", quiet())
    monkeypatch.setattr(epoch_module, "_train_batch", dies)
    resume(tmp_path / "run", Machine(), quiet())
    assert_same_run(stopped[0], tmp_path / "run")


@pytest.mark.parametrize("steps", [7, 11])
def test_patience_goes_on_where_it_was(stopped, photos, tmp_path, monkeypatch, steps) -> None:
    stub_scores(monkeypatch)
    with monkeypatch.context() as patch:
        kill_after(patch, steps)
        with pytest.raises(Killed):
            train(small_spec(photos, "baseline", *PATIENT), tmp_path / "run", quiet())
    resume(tmp_path / "run", Machine(), quiet())
    assert_same_run(stopped[0], tmp_path / "run")


def test_patience_without_a_held_out_part_is_refused_before_a_folder_is_made(photos, tmp_path) -> None:
    with pytest.raises(BadRequest, match=r"^train.patience: there is no validation split.* --val-fraction"):
        train(small_spec(photos, "baseline", "train.patience=3"), tmp_path / "run", quiet())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("seed", range(5))
def test_weights_that_are_not_finite_are_never_saved(photos, tmp_path, monkeypatch, seed) -> None:
    """Poisoned after any step, also after the last of an epoch, which no loss has seen yet."""
    dice = random.Random(seed)
    last, whole = dice.randint(1, 9) if seed else 6, Learner.update

    def poisoned(learner) -> None:
        whole(learner)
        if learner.scheduler.last_epoch == last:
            weight = dice.choice([*learner.method.parameters()]).data
            weight[(0,) * weight.ndim] = dice.choice([math.nan, math.inf])

    monkeypatch.setattr(Learner, "update", poisoned)
    settings = ["data.val_fraction=0.25", "train.epochs=3", "train.log_every=100"]
    settings += dice.sample(["train.ema_decay=0.9", "train.checkpoint_every=1", "optim.optimizer.name=adamw"], 2)
    with pytest.raises(FgvcError, match=r"no longer finite .*: start again with a smaller --lr"):
        train(small_spec(photos, "baseline", *settings), tmp_path / "run", quiet())
    saved = [*(tmp_path / "run").rglob("*.safetensors")]
    assert all(tensor.isfinite().all() for file in saved for tensor in load_file(file).values())
    run = RunFolder(tmp_path / "run")
    assert all(step < last for step in run.checkpoint_steps())
    assert bool(saved) == (last > 3 or ("train.checkpoint_every=1" in settings and last > 1))
    if (tmp_path / "run/metrics.csv").exists():
        assert all(math.isfinite(float(value)) for row in rows_of(tmp_path / "run") for value in row.values())


def test_a_held_out_loss_that_is_not_finite_selects_no_model(photos, tmp_path, monkeypatch) -> None:
    whole = epoch_module.evaluate
    monkeypatch.setattr(epoch_module, "evaluate", lambda *a: whole(*a) | {"loss": math.nan})
    with pytest.raises(FgvcError, match=r"no longer finite \(val_loss\)"):
        train(small_spec(photos, "baseline", "data.val_fraction=0.25"), tmp_path / "run", quiet())
    assert not (tmp_path / "run/model.safetensors").exists()


def test_a_batch_of_one_says_what_to_do(photos, tmp_path) -> None:
    spec = small_spec(photos, "baseline", "train.batch_size=1", "backbone.name=resnet18")
    with pytest.raises(FgvcError, match=r"^BatchNorm cannot train on a batch of one: use a larger --batch-size"):
        train(spec, tmp_path / "run", quiet())


def test_other_value_errors_stay_what_they_are() -> None:
    with pytest.raises(ValueError, match="odd"), batch_norm_explained():
        raise ValueError("odd")


def test_a_batch_of_one_trains_where_batch_norm_can(photos, tmp_path) -> None:
    spec = small_spec(photos, "baseline", "train.batch_size=1", "data.limit_train=3", "train.epochs=1")
    torch.manual_seed(0)
    assert train(spec, tmp_path / "run", quiet())["images"] == 9
