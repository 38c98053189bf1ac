"""Tuning: what is picked, the winner, and trials that go on where they were stopped."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import write_json
from fgvc_cli.spec.flags import spec_of_row
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.suite import tuning as module
from fgvc_cli.suite.places import Ended, ThisMachine
from fgvc_cli.suite.plan import Job, plan, read_suite
from fgvc_cli.suite.search import suite_text, with_picked
from fgvc_cli.suite.tuning import Tried, Tuning, best_of, combinations, tuning_of

SUITE = """
seeds = [3]
[search]
lr = [0.01, 0.03, 0.1]
[defaults]
method = "baseline"
val_fraction = 0.2
[[rows]]
name = "a"
search = { "optim.weight_decay" = { low = 1e-5, high = 1e-2, log = true } }
"""


def space(**ranges: Any) -> Any:
    rows = [{"name": "a", "search": ranges}]
    return module.SuiteFile.model_validate({"rows": rows}).rows[0].search


def test_combinations_are_those_of_lists_alone() -> None:
    assert combinations(space(lr=[1, 2], epochs=[3, 4])) == [
        {"lr": 1, "epochs": 3},
        {"lr": 1, "epochs": 4},
        {"lr": 2, "epochs": 3},
        {"lr": 2, "epochs": 4},
    ]
    assert combinations(space(lr=[1, 2], epochs={"low": 1, "high": 2})) is None


@pytest.mark.parametrize("wrong", [{"low": 2, "high": 1}, {"low": 0, "high": 1, "log": True}, [], {"low": 1}])
def test_wrong_ranges(wrong: Any) -> None:
    with pytest.raises(ValueError, match="search"):
        space(lr=wrong)


def test_the_winner_has_the_highest_accuracy_then_the_lowest_loss() -> None:
    tried = [
        Tried(0, {}, "complete", 0.5, 1.0),
        Tried(1, {}, "complete", 0.6, 2.0),
        Tried(2, {}, "complete", 0.6, 1.5),
        Tried(3, {}, "pruned"),
    ]
    assert best_of(tried) is tried[2]
    assert best_of(tried[3:]) is None


def test_the_winners_are_a_suite() -> None:
    file = read_suite(SUITE, "s.toml")
    flags = with_picked(file.flags_of(file.rows[0]), {"lr": 0.03, "optim.weight_decay": 1e-3, "optim.schedule": "step"})
    assert flags["set"] == ["optim.weight_decay=0.001", "optim.schedule=step"]
    written = read_suite(suite_text(file, {"a": flags}), "tuned.toml")
    assert (written.reference, written.seeds, written.search) == ("a", [3], {})
    assert written.flags_of(written.rows[0]) == flags
    row = tomllib.loads(suite_text(file, {"a": flags | {"data_dir": Path("photos.csv")}}))["rows"][0]
    assert (row["lr"], row["data_dir"]) == (0.03, "photos.csv")


def test_a_suite_with_values_to_search_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="row a has values to search: `fgvc tune`"):
        plan(read_suite(SUITE, "s.toml"), tmp_path, {}, spec_of_row)


def tuning(folder: Path, **ranges: Any) -> Tuning:
    def spec_of(picked: dict[str, Any]) -> RunSpec:
        return spec_of_row({"method": "baseline", "dataset": "demo", "val_fraction": 0.2} | picked)

    return Tuning("a", space(**ranges), spec_of, folder, 4, 0)


class Trained:
    """In the place of processes: a trial's accuracy is its learning rate."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.jobs: list[Job] = []
        self.stop_at = stop_at

    def __call__(self, job: Job, place: ThisMachine, tell: Any, watch: Any) -> Ended:
        if len(self.jobs) == self.stop_at:
            raise KeyboardInterrupt
        self.jobs.append(job)
        result = {"branches": {"final": {"top1": job.spec.optim.lr}}, "loss": 1.0}
        job.run.evaluation_file("val").parent.mkdir(parents=True)
        write_json(job.run.evaluation_file("val"), _result(result))
        return Ended(0)


def _result(result: dict[str, Any]) -> dict[str, Any]:
    whole = {"top5": 1.0, "mean_per_class": 1.0}
    branches = {"final": result["branches"]["final"] | whole}
    about = {"run": "r", "split": "val", "method": "baseline", "epoch": 1, "dataset": "demo", "classes": 2, "images": 4}
    return about | result | {"branches": branches, "calibration": {"ece": 0.1}, "worst_classes": [], "confusions": []}


def test_stopped_trials_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Trained(stop_at=1)
    monkeypatch.setattr(module, "run_job", trained)
    with pytest.raises(KeyboardInterrupt):
        tuning(tmp_path, lr=[0.01, 0.03, 0.1]).run(ThisMachine(), lambda *_: None)
    trained.stop_at = None
    tried = tuning(tmp_path, lr=[0.01, 0.03, 0.1]).run(ThisMachine(), lambda *_: None)
    assert [one.state for one in tried] == ["complete"] * 3
    assert len(trained.jobs) == 3
    assert {one.folder for one in tried} == {job.folder for job in trained.jobs}
    best = best_of(tried)
    assert best is not None
    assert best.picked == {"lr": 0.1}
    with pytest.raises(BadRequest, match="holds trials of other values"):
        tuning(tmp_path, lr=[0.01, 0.03])


def test_a_wrong_row_is_named_before_any_trial(tmp_path: Path) -> None:
    file = read_suite(SUITE.replace("baseline", "nothing"), "s.toml")
    with pytest.raises(BadRequest, match="row a: "):
        tuning_of(file, file.rows[0], file.flags_of(file.rows[0]), spec_of_row, tmp_path, 3)


def test_processes_say_why_they_failed_and_are_ended_on_request(tmp_path: Path) -> None:
    place = ThisMachine()
    said = [sys.executable, "-c", "import sys; print('fgvc: no such thing'); sys.exit(2)"]
    assert place.run(said, tmp_path / "a" / "log", lambda _: None, lambda: False) == Ended(2, "no such thing")
    waits = [sys.executable, "-c", "import time; time.sleep(60)"]
    ended = place.run(waits, tmp_path / "log", lambda _: None, lambda: True)
    assert ended is not None
    assert ended.code != 0
