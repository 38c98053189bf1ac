"""A run in a tracker: what is sent, and that nothing the tracker does costs the run anything."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from fgvc_cli.errors import BadRequest
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.journal import Journal
from fgvc_cli.runs.tracking import trackers, tracking
from fgvc_cli.runs.tracking.trackers import check_tracker
from fgvc_cli.runs.tracking.tracking import Tracking, flat, name_of
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.run import RunSpec
from tests.runs.tracking.conftest import Told

LINE = "note: wandb {}; the run goes on without it ({}/tracker.log)"


@pytest.fixture
def spec() -> RunSpec:
    return build_spec(flags={"train.track": "wandb"})


def test_what_a_tracker_is_told(told: Told, spec: RunSpec, tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    for outcome in ("stopped", "finished"):
        sent = Tracking(RunFolder(tmp_path), spec, said.append)
        journal = Journal(tracking=sent)
        journal.scalars({"train/loss": 0.5, "val/top1": float("nan")}, 7)
        journal.pictures({"test/confusion": tmp_path / "a.png"}, 7)
        journal.pictures({}, 7)
        sent.close(outcome)
    first, second = told()[:4], told()[4:]
    assert [message[0] for message in first] == ["start", "scalars", "pictures", "finish"]
    params = first[0][2]
    assert first[0][1] is None
    assert (params["method.name"], params["optim.schedule.name"]) == ("baseline", spec.optim.schedule.name)
    assert (first[1][1]["train/loss"], first[1][2], first[2][1]) == (0.5, 7, ["test/confusion"])
    assert (first[3], second[3]) == (["finish", "stopped"], ["finish", "finished"])
    assert second[0][1] == "its-own-id"  # it goes on with the same
    assert said == ["wandb: a place"] * 2


def test_without_a_message_nothing_is_started(told: Told, spec: RunSpec, tmp_path: Path) -> None:
    Tracking(RunFolder(tmp_path), spec, pytest.fail).close("finished")
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("where", ["start", "scalars", "finish"])
def test_one_that_fails_is_one_line(
    told: Told, spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("FAKE_FAILS", where)
    said: list[str] = []
    sent = Tracking(RunFolder(tmp_path), spec, said.append)
    sent.scalars({"train/loss": 0.5}, 1)
    if where != "finish":
        assert sent._process is not None
        sent._process.wait(20)
    for step in range(2, 5):
        sent.scalars({"train/loss": 0.5}, step)
    sent.close("finished")
    assert said == [LINE.format("failed: ConnectionError: no route to the tracker", tmp_path)]


def test_one_that_hangs_costs_the_run_no_time(
    told: Told, spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_HANGS", "start")
    monkeypatch.setattr(tracking, "PATIENCE", 0.5)
    said: list[str] = []
    sent = Tracking(RunFolder(tmp_path), spec, said.append)
    sent._queue.maxsize = 100
    started = time.monotonic()
    for step in range(5000):  # more than the pipe holds
        sent.scalars({"train/loss": 0.5, "a long name of a measure " * 4: 1.0}, step)
    assert said == [LINE.format("does not keep up: 10000 messages wait", tmp_path)]
    sent.close("finished")
    assert time.monotonic() - started < 60
    assert len(said) == 1
    assert sent._process is not None
    assert sent._process.wait(60) != 0


def test_one_that_never_ends_is_ended(
    told: Told, spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_HANGS", "finish")
    monkeypatch.setattr(tracking, "PATIENCE", 1.0)
    said: list[str] = []
    sent = Tracking(RunFolder(tmp_path), spec, said.append)
    sent.scalars({"train/loss": 0.5}, 1)
    sent.close("finished")
    assert said == [LINE.format("did not end within 1 s", tmp_path)]


def test_a_killed_run_leaves_no_process_behind(told: Told, spec: RunSpec, tmp_path: Path) -> None:
    sent = Tracking(RunFolder(tmp_path), spec, pytest.fail)
    sent.scalars({"train/loss": 0.5}, 1)
    assert sent._process is not None
    sent._queue.put(None)  # closes the pipe, as the system does when the run is killed
    assert sent._process.wait(20) == 0
    assert told()[-1] == ["finish", "stopped"]


def test_a_damaged_record_begins_a_new_run(told: Told, spec: RunSpec, tmp_path: Path) -> None:
    (tmp_path / "wandb.json").write_text("{}")
    said: list[str] = []
    sent = Tracking(RunFolder(tmp_path), spec, said.append)
    sent.scalars({"train/loss": 0.5}, 1)
    sent.close("finished")
    assert "wandb.json" in said[0]
    assert said[0].endswith("wandb begins a new run")
    assert said[1:] == ["wandb: a place"]


def test_missing_packages_and_unknown_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "has_module", lambda name: False)
    check_tracker(None)
    for name in trackers.TRACKERS:
        with pytest.raises(BadRequest, match=rf"--track {name} needs {name}: pip install 'fgvc\[{name}\]'"):
            check_tracker(name)
    with pytest.raises(BadRequest, match=r"train.track: must be 'wandb', 'mlflow' or 'trackio' \(got 'tensorboard'\)"):
        build_spec(flags={"train.track": "tensorboard"})
    assert build_spec(flags={"train.track": "none"}).train.track is None
    assert set(trackers.TRACKERS) == {"wandb", "mlflow", "trackio"}


def test_its_process_imports_no_torch() -> None:
    code = "import fgvc_cli.runs.tracking.child, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert name_of(Path("runs/reaps-cub")) == "reaps-cub"
    assert name_of(Path("suites/mine/a row/seed-0")) == "mine-a row-seed-0"
    assert name_of(Path("/elsewhere/deep/run")) == "run"
    assert name_of(Path("x")) == "x"
    assert name_of(Path("runs")) == "runs"


def test_names_with_dots() -> None:
    assert flat({"a": {"b": 1, "c": {"d": [1]}}, "e": None}) == {"a.b": 1, "a.c.d": [1], "e": None}
