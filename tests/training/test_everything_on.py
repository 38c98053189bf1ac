"""Average, mixup, CutMix, smoothing, balance, held-out part and patience at once: stopped and resumed, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.training.train import Machine, resume, train
from tests.conftest import STEPPED, small_spec
from tests.training.test_train import Killed, assert_same_run, kill_after, quiet

SETTINGS = (
    "train.ema_decay=0.7",
    "regularise.label_smoothing=0.1",
    "regularise.mixup_alpha=0.4",
    "regularise.cutmix_alpha=1",
    "regularise.mix_probability=0.8",
    "train.class_balance=true",
    "data.val_fraction=0.25",
    "train.patience=2",
    "train.checkpoint_every=2",
    "optim.warmup_epochs=0.5",
)


def spec_of(photos: Path, method: str, *more: str) -> RunSpec:
    return small_spec(photos, method, *SETTINGS, *more)


def assert_same_state(a: Path, b: Path) -> None:
    """The last checkpoints hold the same tensors: weights, their average, optimizer, dice."""
    steps = RunFolder(a).checkpoint_steps()
    assert steps == RunFolder(b).checkpoint_steps()
    one, two = (load_file(RunFolder(path).checkpoint(steps[-1]) / "state.safetensors") for path in (a, b))
    assert list(one) == list(two)
    assert any(name.startswith("/average/") for name in one)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module", params=STEPPED)
def undisturbed(request, photos, tmp_path_factory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("everything") / request.param
    train(spec_of(photos, request.param), out, quiet())
    return request.param, out


@pytest.mark.parametrize(("steps", "workers"), [(1, 0), (3, 0), (5, 2)])
def test_killed_and_resumed_gives_the_same_run(undisturbed, photos, tmp_path, monkeypatch, steps, workers) -> None:
    method, whole = undisturbed
    with monkeypatch.context() as patch:
        kill_after(patch, steps)
        with pytest.raises(Killed):
            train(spec_of(photos, method), tmp_path / "run", quiet())
    resume(tmp_path / "run", Machine(workers=workers), quiet())
    assert_same_run(whole, tmp_path / "run")
    assert_same_state(whole, tmp_path / "run")


@pytest.mark.parametrize("sets", [["train.precision=bf16"], ["train.precision=fp16", "optim.accumulate=2"]])
def test_with_other_settings_of_a_step(photos, tmp_path, sets) -> None:
    result = train(spec_of(photos, "baseline", "train.epochs=1", *sets), tmp_path / "run", quiet())
    assert result["images"] == 9


def test_each_setting_changes_what_is_learnt(photos, tmp_path) -> None:
    """None is lost on its way from the spec to the step."""
    models = []
    for number, setting in enumerate([*SETTINGS[:4], SETTINGS[5], "train.log_every=7"]):
        train(small_spec(photos, "baseline", "train.epochs=1", setting), tmp_path / str(number), quiet())
        models.append(load_file(tmp_path / str(number) / "model.safetensors")["classifier.weight"])
    for first, model in enumerate(models):
        assert not any(torch.equal(model, other) for other in models[:first])
