"""Suites, tuning and averages from a program."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import fgvc_cli as fgvc
from fgvc_cli.suite import running, tuning
from fgvc_cli.suite.places import Ended
from fgvc_cli.suite.plan import Job

SMALL = {"backbone": "tiny", "weights": "none", "image_size": 32, "epochs": 1, "batch_size": 8, "workers": 0}


@pytest.fixture
def two(photos: Path) -> dict[str, Any]:
    """A suite of two rows, as a program has it."""
    sets = ["data.resize=36", "data.duplicates=off"]
    defaults = SMALL | {"dataset": "folder", "data_dir": str(photos), "device": "cpu", "val_fraction": 0.3, "set": sets}
    rows = [{"name": "plain", "method": "baseline"}, {"name": "broken", "method": "baseline", "lr": 1e30}]
    return {"title": "Two rows", "seeds": [0], "defaults": defaults, "rows": rows}


@pytest.fixture
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are trained here, in the place of processes of their own, which take seconds to start."""

    def trained(job: Job, place: object, tell: Any, watch: object = None) -> Ended:
        try:
            fgvc.train(config=job.spec_file, out=job.folder, no_test=job.split != "test", progress=False)
            tell(job, "finished")
            return Ended(0)
        except fgvc.FgvcError as error:
            tell(job, f"failed: {error}")
            return Ended(1, str(error))

    for module in (running, tuning):
        monkeypatch.setattr(module, "run_job", trained)


@pytest.mark.usefixtures("_in_this_process")
def test_a_suite(two: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = fgvc.run_suite(two, out=tmp_path / "two", report=True)
    assert (found.title, found.seeds, found.reference) == ("Two rows", (0,), "plain")
    assert found.failed == ("broken, seed 0",)
    plain, broken = found.rows
    assert plain.top1 is not None
    run = fgvc.Run(tmp_path / "two/plain/seed-0")
    assert plain.top1.mean == run.measures.branches.final.top1
    assert (broken.top1, broken.unfinished) == (None, (0,))
    assert {file.name for file in found.files.values()} == {f"table.{k}" for k in ("md", "csv", "json", "tex")} | {
        "chart.png"
    }
    assert found.report is not None
    assert found.report.is_file()
    out, err = capsys.readouterr()
    assert out == ""
    assert "[1/2] plain, seed 0: finished" in err
    again = fgvc.run_suite(two, out=tmp_path / "two", rows=["plain"], table_only=True, progress=False)
    assert (again.rows, again.failed, again.report) == ((plain,), (), None)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("_in_this_process")
def test_tuning(
    two: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(place: object, command: list[str], *_: object) -> Ended:
        fgvc.evaluate(command[-1], split="test", progress=False)
        return Ended(0)

    monkeypatch.setattr("fgvc_cli.suite.places.ThisMachine.run", measured)
    two["rows"] = two["rows"][:1]
    found = fgvc.tune(two | {"search": {"lr": [0.01, 0.05]}}, out=tmp_path / "tuned", epochs=1)
    (winner,) = found.winners
    assert winner.best.picked["lr"] in (0.01, 0.05)
    assert len(winner.tried) == 2
    assert 0 <= winner.test_top1 <= 1
    assert len(list(csv.DictReader(found.trials.open()))) == 2
    assert fgvc.run_suite(found.suite, out=tmp_path / "x", table_only=True, progress=False).rows[0].name == "plain"
    assert "plain, trial-0: " in capsys.readouterr().err
    (row,) = fgvc.run_suite(found.suite, out=found.runs, seeds=[two["seeds"][0]]).rows
    assert row.top1 is not None
    assert row.top1.mean == winner.test_top1
    assert "seed 0: finished before" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({}, r"has no name: give its folder, out=FOLDER"),
        ({"out": "x", "seeds": [-1]}, r"--seeds: seeds"),
        ({"out": "x", "seeds": [0, 0]}, r"seeds must differ"),
        ({"out": "x", "rows": ["third"]}, r"there is no row 'third'; the rows are plain; broken"),
        ({"out": "x", "wight": 1}, r"wight is no flag of fgvc.run_suite"),
        ({"out": "x", "set": "data.nothing=1"}, r"row plain: data.nothing"),
        ({"out": "x", "at_once": 0}, r"--at-once 0: give at least 1"),
        ({"out": "x", "at_once": 2, "one_by_one": True}, r"give one of them"),
    ],
    ids=str,
)
def test_a_suite_that_is_wrong(
    two: dict[str, Any], asked: dict[str, Any], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fgvc.BadRequest, match=complaint):
        fgvc.run_suite(two, progress=False, **asked)


def test_what_cannot_be_tuned(two: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(fgvc.BadRequest, match="nothing to search for row plain"):
        fgvc.tune(two, out=tmp_path)
    with pytest.raises(fgvc.BadRequest, match="--trials 0: give at least 1"):
        fgvc.tune(two, out=tmp_path, trials=0)
    with pytest.raises(fgvc.BadRequest, match=r"suite: rows"):
        fgvc.tune({"rows": []}, out=tmp_path)
    with pytest.raises(fgvc.BadRequest, match="there is no suite nothing"):
        fgvc.tune("nothing")


def test_an_average(trained: fgvc.Run, photos: Path, tmp_path: Path) -> None:
    other = fgvc.train(config=trained.folder, weights=trained.folder, out=tmp_path / "other", epochs=1, progress=False)
    with pytest.raises(fgvc.BadRequest, match="cannot be averaged: they have another backbone"):
        fgvc.average([trained, other], tmp_path / "x", progress=False)
    third = fgvc.train(config=other.folder, out=tmp_path / "third", lr=0.01, progress=False)
    run = fgvc.average([other, third.folder], tmp_path / "mean", kind="uniform", device="cpu", progress=False)
    assert run.averaged is not None
    assert [one.kind for one in run.averaged.soups] == ["uniform"]
    assert run.averaged.runs[1].run == str(third.folder)
    assert 0 <= run.measures.branches.final.top1 <= 1
    assert trained.averaged is None
    for wrong, complaint in (({"kind": "x"}, "--kind x: choose best"), ({"runs": [other]}, "name two or more runs")):
        with pytest.raises(fgvc.BadRequest, match=complaint):
            fgvc.average(**{"runs": [other, third], "out": tmp_path / "y", "progress": False} | wrong)  # type: ignore[arg-type]
