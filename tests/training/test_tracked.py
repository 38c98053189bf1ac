"""A run that is recorded in a tracker too: the same run, whatever the tracker does, and all of it is there."""

from __future__ import annotations

import csv
import io
import os
import signal
import sqlite3
from importlib.util import find_spec
from pathlib import Path

import pytest

from fgvc_cli.machine.interrupt import Stopped
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.tracking import tracking
from fgvc_cli.terminal import Console
from fgvc_cli.training import epoch as epoch_module
from fgvc_cli.training.train import Machine, resume, train
from tests.conftest import small_spec
from tests.runs.tracking.conftest import Told, told
from tests.training.test_train import assert_same_run, quiet

__all__ = ["told"]  # the fixture
TRACKED = "train.track=wandb"


def names(messages: list[list[object]]) -> set[str]:
    """All that was measured."""
    return {name for what, *given in messages if what == "scalars" for name in given[0]}


@pytest.fixture(scope="module")
def alone(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run without a tracker."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train(small_spec(photos), out, quiet())
    return out


@pytest.mark.parametrize("method", ["baseline", "probe"])
def test_everything_of_a_run_is_there(told: Told, photos: Path, tmp_path: Path, method: str) -> None:
    out, console = tmp_path / "run", quiet()
    result = train(small_spec(photos, method, "data.val_fraction=0.25", TRACKED), out, console)
    messages = told()
    [start] = [message for message in messages if message[0] == "start"]
    assert start[2]["method.name"] == method
    row = next(csv.DictReader(io.StringIO((out / "metrics.csv").read_text())))
    measured = {name.replace("_", "/", 1) for name in row if name.startswith(("train_", "val_"))}
    assert measured | {"test/loss", "test/top1", "test/macro_f1"} <= names(messages)
    [last] = [given for what, *given in messages if what == "scalars" and "test/top1" in given[0]]
    assert last[0]["test/top1"] == result["branches"]["final"]["top1"]
    assert messages[-2:] == [["pictures", ["test/confusion", "test/selective"], last[1]], ["finish", "finished"]]
    assert "wandb: a place" in console.file.getvalue()
    before = len(messages)
    resume(out, Machine(), quiet())  # there is nothing to do, and nothing to tell
    assert len(told()) == before


def test_a_resumed_run_goes_on_in_the_same(
    told: Told, alone: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, count = epoch_module._train_batch, 0

    def stopping(*given: object) -> bool:
        nonlocal count
        count += 1
        if count == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*given)

    monkeypatch.setattr(epoch_module, "_train_batch", stopping)
    with pytest.raises(Stopped):
        train(small_spec(photos, "baseline", TRACKED), tmp_path / "run", quiet())
    assert told()[-1] == ["finish", "stopped"]
    resume(tmp_path / "run", Machine(), quiet())
    assert [message[1] for message in told() if message[0] == "start"] == [None, "its-own-id"]
    assert told()[-1] == ["finish", "finished"]
    assert_same_run(alone, tmp_path / "run")


@pytest.mark.parametrize("fails", ["FAKE_FAILS", "FAKE_HANGS"])
def test_a_tracker_that_fails_costs_one_line(
    told: Told, alone: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    monkeypatch.setenv(fails, "start")
    monkeypatch.setattr(tracking, "PATIENCE", 1.0)
    console = quiet()
    train(small_spec(photos, "baseline", TRACKED), tmp_path / "run", console)
    assert_same_run(alone, tmp_path / "run")
    said = [line for line in console.file.getvalue().splitlines() if "wandb" in line]
    assert len(said) == 1
    assert "the run goes on without it" in said[0]


def test_the_plain_start_is_not_a_run_of_its_own_there(told: Told, photos: Path, tmp_path: Path) -> None:
    spec = small_spec(photos, "clan", "backbone.plain_epochs=1", "train.epochs=1", TRACKED)
    train(spec, tmp_path / "run", quiet())
    assert [message[0] for message in told()].count("start") == 1
    assert RunFolder(tmp_path / "run").plain.spec().train.track is None


# ---- the libraries themselves, without a network


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_the_library_itself(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    spec, console = small_spec(photos, "baseline", "data.val_fraction=0.25", f"train.track={name}"), quiet()
    train(spec, tmp_path / "run", console)
    assert f"{name}: " in console.file.getvalue()
    assert "the run goes on without it" not in console.file.getvalue(), (tmp_path / "run/tracker.log").read_text()
    (tmp_path / "run/eval/test.json").unlink()
    known = (tmp_path / f"run/{name}.json").read_text()
    again = Console(file=io.StringIO(), width=200)
    resume(tmp_path / "run", Machine(), again)
    assert "the run goes on without it" not in again.file.getvalue(), (tmp_path / "run/tracker.log").read_text()
    assert '"id": ' in known
    assert (tmp_path / f"run/{name}.json").read_text().split(",")[0] == known.split(",")[0]
    if name == "mlflow":
        with sqlite3.connect(tmp_path / "mlflow.db") as store:
            assert store.execute("select count(*) from runs").fetchone() == (1,)
            assert store.execute("select status from runs").fetchone() == ("FINISHED",)
            kept = {row[0] for row in store.execute("select key from metrics")}
            assert {"train/loss", "val/top1", "test/top1"} <= kept
    if name == "trackio":
        text = b"".join(file.read_bytes() for file in (tmp_path / "trackio").glob("*.db"))
        assert b"val/top1" in text or list((tmp_path / "trackio").rglob("*"))
    if name == "wandb":
        runs = list((tmp_path / "wandb").glob("offline-run-*"))
        assert len(runs) == 2  # `wandb sync` makes them one: they have one id
        assert len({run.name.split("-", 3)[3] for run in runs}) == 1
        assert list(runs[0].rglob("*.png")) or list(runs[1].rglob("*.png"))
