"""SCAPNet's two-stage training: what rests in the first stage, the schedule's restart, killed in either stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.trained import load_trained
from fgvc_cli.methods.base import Method
from fgvc_cli.methods.scapnet.method import ScapNet
from fgvc_cli.spec.methods.scapnet import ScapNetSpec
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.training.train import Machine, resume, train
from tests.conftest import small_spec
from tests.training.test_train import Killed, assert_same_run, kill_after, quiet, rows_of

SUB = ("sub_backbone.", "relation.", "sub_classifier.")
EPOCHS = 5


def spec_of(photos: Path, *sets: str) -> RunSpec:
    few = ("method.two_stage=2", "method.parts=[1,1]", f"train.epochs={EPOCHS}", "optim.warmup_epochs=0")
    return small_spec(photos, "scapnet", *few, *sets)


@pytest.fixture
def staged(build: Callable[..., Method]) -> ScapNet:
    method = build(ScapNetSpec(two_stage=20))
    assert isinstance(method, ScapNet)
    return method


def trains(method: ScapNet) -> set[str]:
    return {name.split(".")[0] for name, p in method.named_parameters() if p.requires_grad}


def test_the_sub_network_rests_in_the_first_stage(staged: ScapNet) -> None:
    images, labels = torch.randn(4, 3, 64, 64), torch.tensor([0, 4, 2, 2])
    assert staged.on_epoch(0, 60)
    assert not staged.on_epoch(19, 60)
    before = {name: value.clone() for name, value in staged.state_dict().items()}
    output = staged.train()(images)
    losses = staged.losses(output, labels)
    assert list(output.branches) == ["master"]
    assert output.logits is output.branches["master"]
    assert list(losses) == ["cls", "act", "con"]
    torch.stack(list(losses.values())).sum().backward()
    torch.optim.SGD(staged.parameters(), 0.1, momentum=0.9, weight_decay=0.1).step()
    changed = {
        name.split(".")[0] for name, value in staged.state_dict().items() if not torch.equal(before[name], value)
    }
    assert changed == trains(staged) == {"backbone", "location", "classifier"}


def test_the_second_stage_has_everything(staged: ScapNet) -> None:
    staged.on_epoch(0, 60)
    assert staged.on_epoch(20, 60)
    assert not staged.on_epoch(59, 60)
    output = staged(torch.randn(2, 3, 64, 64))
    assert list(output.branches) == ["master", "sub", "final"]
    assert trains(staged) == {"backbone", "location", "classifier", "sub_backbone", "relation", "sub_classifier"}


def test_without_stages_nothing_ever_rests(build: Callable[..., Method]) -> None:
    method = build(ScapNetSpec())
    assert not any(method.on_epoch(epoch, 3) for epoch in range(3))
    assert ScapNetSpec().stage_starts(60) == (0,)
    assert ScapNetSpec(two_stage=20).stage_starts(60) == (0, 20)


def test_a_second_stage_that_never_begins_is_refused(photos: Path) -> None:
    for epochs in (1, 2):
        with pytest.raises(BadRequest, match=r"^spec: the method's last stage starts after 2 epochs: train\.epochs"):
            spec_of(photos, f"train.epochs={epochs}")


@pytest.fixture(
    scope="module", params=[(), ("train.ema_decay=0.7", "optim.optimizer.name=adamw")], ids=["", "averaged"]
)
def whole(request, photos, tmp_path_factory) -> tuple[tuple[str, ...], Path]:
    out = tmp_path_factory.mktemp("stages") / "run"
    train(spec_of(photos, *request.param), out, quiet())
    return request.param, out


def test_the_schedule_restarts_and_the_loss_joins(whole) -> None:
    _, out = whole
    rows = rows_of(out)
    rates = [float(row["lr"]) for row in rows]
    assert rates[2] == rates[0] == 0.02
    assert rates[1] < rates[0]
    assert rates[4] < rates[3] < rates[2]
    assert [bool(row["train_sub"]) for row in rows] == [False, False, True, True, True]
    for row in rows:
        parts = [float(row[f"train_{name}"] or 0) for name in ("cls", "act", "con", "sub")]
        assert float(row["train_loss"]) == pytest.approx(sum(parts), rel=1e-5)


@pytest.mark.parametrize("steps", [3, 8, 10, 14])
def test_killed_in_either_stage_and_resumed(whole, photos, tmp_path, monkeypatch, steps) -> None:
    """4 steps an epoch: in the first stage, on the border, in the second."""
    sets, undisturbed = whole
    with monkeypatch.context() as patch:
        kill_after(patch, steps)
        with pytest.raises(Killed):
            train(spec_of(photos, *sets, "train.checkpoint_every=3"), tmp_path / "run", quiet())
    resume(tmp_path / "run", Machine(), quiet())
    assert_same_run(undisturbed, tmp_path / "run")


def test_the_first_stage_in_a_run_leaves_the_sub_network_as_it_was(photos, tmp_path, monkeypatch) -> None:
    """Neither weight decay nor BatchNorm's statistics: two runs that differ in length agree on it, bit by bit."""
    found = []
    for name, steps in (("one", 4), ("two", 8)):
        with monkeypatch.context() as patch:
            kill_after(patch, steps)
            with pytest.raises(Killed):
                train(spec_of(photos), tmp_path / name, quiet())
        found.append(load_file(tmp_path / name / "model.safetensors"))
    for name in found[0]:
        assert torch.equal(found[0][name], found[1][name]) == name.startswith(SUB), name


def test_a_model_of_the_first_stage_predicts_by_its_master(photos, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        kill_after(patch, 4)
        with pytest.raises(Killed):
            train(spec_of(photos), tmp_path / "run", quiet())
    trained = load_trained(tmp_path / "run/model.safetensors")
    assert trained.epoch == 1
    with torch.no_grad():
        assert list(trained.method(torch.zeros(1, 3, 32, 32)).branches) == ["master"]
