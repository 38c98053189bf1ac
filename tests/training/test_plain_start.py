"""`backbone.plain_epochs`: the plain network is trained first, and the method starts from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgvc_cli.machine.interrupt import Stopped
from fgvc_cli.runs.folder import RunFolder, find_runs
from fgvc_cli.training import epoch as epoch_module
from fgvc_cli.training import train as train_module
from fgvc_cli.training.train import Machine, resume, train
from tests.conftest import small_spec
from tests.training.test_train import Killed, assert_same_run, kill_after, quiet, rows_of

PLAIN = "backbone.plain_epochs=1"  # 4 steps, before the 8 of the method itself


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "run"
    train(small_spec(photos, "apcnn", PLAIN), out, quiet())
    return out


def test_it_is_what_two_commands_do(whole, photos, tmp_path) -> None:
    train(small_spec(photos, "baseline", "train.epochs=1"), tmp_path / "first", quiet())
    train(small_spec(photos, "apcnn", f"backbone.weights={tmp_path / 'first'}"), tmp_path / "second", quiet())
    assert_same_run(tmp_path / "second", whole)
    assert (whole / "plain/model.safetensors").read_bytes() != b""
    assert [row["epoch"] for row in rows_of(whole / "plain")] == ["0"]
    assert RunFolder(whole).spec() == small_spec(photos, "apcnn", PLAIN)
    assert not (whole / "plain/eval").exists()  # the test images are for the method


def test_it_starts_elsewhere_than_without(whole, photos, tmp_path) -> None:
    train(small_spec(photos, "apcnn"), tmp_path / "run", quiet())
    assert rows_of(tmp_path / "run")[0]["train_loss"] != rows_of(whole)[0]["train_loss"]


@pytest.mark.parametrize("steps", [0, 2, 4, 5, 9])
def test_killed_at_any_time_it_ends_the_same(whole, photos, tmp_path, monkeypatch, steps) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        kill_after(patch, steps)
        with pytest.raises(Killed):
            train(small_spec(photos, "apcnn", PLAIN), out, quiet())
    resume(out, Machine(), quiet())
    assert_same_run(whole, out)


def test_stopped_in_the_plain_network_it_names_the_run(photos, tmp_path, monkeypatch) -> None:
    for module in (train_module, epoch_module):
        monkeypatch.setattr(module, "asked_to_stop", lambda wish: True)
    with pytest.raises(Stopped, match=rf"--resume {tmp_path / 'run'}$"):
        train(small_spec(photos, "apcnn", PLAIN), tmp_path / "run", quiet())
    assert [run.path.name for run in find_runs(tmp_path)] == ["run"]


def test_a_run_that_is_called_plain_is_its_own(tmp_path) -> None:
    assert RunFolder(tmp_path / "plain").outermost.path == tmp_path / "plain"
