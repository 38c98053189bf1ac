"""The moving average of the weights: against a loop in float64, measured, selected, saved."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from fgvc_cli.inference.trained import load_trained
from fgvc_cli.methods.baseline import Baseline
from fgvc_cli.runs.checkpoint import load_checkpoint, load_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.training import epoch as epoch_module
from fgvc_cli.training.averages.moving import Average
from fgvc_cli.training.learner import Learner
from fgvc_cli.training.train import train
from tests.conftest import small_spec
from tests.training.test_train import quiet, rows_of

DECAY = 0.8


@pytest.fixture(scope="module")
def followed(photos, tmp_path_factory):
    """A run with an average, and its raw weights after every step."""
    out, steps = tmp_path_factory.mktemp("ema") / "run", []
    whole = Learner.update

    def watched(learner) -> None:
        whole(learner)
        steps.append({name: value.clone() for name, value in learner.method.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "update", watched)
        train(small_spec(photos, "baseline", f"train.ema_decay={DECAY}", "data.val_fraction=0.25"), out, quiet())
    return out, steps


def test_the_model_is_the_average_over_every_step(followed) -> None:
    out, steps = followed
    weights, about = load_model(out / "model.safetensors")
    assert about["ema"] is True
    steps = steps[: about["epoch"] * len(steps) // 2]
    expected = {name: value.double() for name, value in steps[0].items()}
    for step in steps[1:]:
        for name, value in step.items():
            expected[name] = DECAY * expected[name] + (1 - DECAY) * value.double()
    for name, value in weights.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7)
            assert "running" in name or not torch.equal(value, steps[-1][name])
        else:  # BatchNorm's counters follow
            assert torch.equal(value, steps[-1][name])


def test_both_kinds_of_weights_are_in_the_checkpoint(followed) -> None:
    out, steps = followed
    state = load_checkpoint(RunFolder(out), len(steps))
    assert all(torch.equal(state["method"][name], value) for name, value in steps[-1].items())
    assert int(state["average"]["_extra_state"]) == len(steps)
    assert any(not torch.equal(state["average"][f"method.{name}"], value) for name, value in steps[-1].items())


def test_the_average_is_what_the_held_out_part_measures(photos, tmp_path, monkeypatch) -> None:
    measured, whole = [], epoch_module.evaluate

    def watched(method, *arguments):
        measured.append({name: value.clone() for name, value in method.state_dict().items()})
        return whole(method, *arguments)

    monkeypatch.setattr(epoch_module, "evaluate", watched)
    spec = small_spec(photos, "baseline", "train.ema_decay=0.5", "data.val_fraction=0.25", "train.epochs=1")
    train(spec, tmp_path / "run", quiet())
    model = load_file(tmp_path / "run/model.safetensors")
    assert all(torch.equal(measured[0][name], value) for name, value in model.items())
    assert (
        float(rows_of(tmp_path / "run")[0]["val_top1"]) == load_model(tmp_path / "run/model.safetensors")[1]["val_top1"]
    )


def test_the_copy_enters_every_epoch_too(photos, tmp_path, monkeypatch) -> None:
    entered: dict[int, list[tuple[int, int]]] = {}
    monkeypatch.setattr(Baseline, "on_epoch", lambda self, *at: entered.setdefault(id(self), []).append(at))
    train(small_spec(photos, "baseline", "train.ema_decay=0.9"), tmp_path / "run", quiet())
    assert [at for at in entered.values() if at == [(0, 2), (1, 2)]] == [[(0, 2), (1, 2)]] * 2


def test_without_it_the_weights_themselves_are_saved(photos, tmp_path) -> None:
    train(small_spec(photos, "baseline", "train.epochs=1"), tmp_path / "run", quiet())
    weights, about = load_model(tmp_path / "run/model.safetensors")
    state = load_checkpoint(RunFolder(tmp_path / "run"), 4)
    assert about["ema"] is False
    assert state["average"] is None
    assert all(torch.equal(state["method"][name], value) for name, value in weights.items())


def test_the_first_update_copies(photos) -> None:
    from fgvc_cli.methods import build_method

    method, _ = build_method(small_spec(photos), 3, load_weights=False)
    average = Average(method, 0.999)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(1)
    average.update(method)
    assert all(torch.equal(average.method.state_dict()[name], value) for name, value in method.state_dict().items())


def test_a_model_of_averages_predicts_alone(followed) -> None:
    trained = load_trained(followed[0] / "model.safetensors")
    with torch.no_grad():
        assert trained.method(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 3)
