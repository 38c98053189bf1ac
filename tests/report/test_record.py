"""A run of which something is missing or damaged: what is left is shown, what is not is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fgvc_cli.errors import FgvcError
from fgvc_cli.inference.dataset import NoSplitError
from fgvc_cli.report.record import Record
from fgvc_cli.runs.folder import RunFolder
from tests.report.conftest import IMAGE, SCRIPT

Read = Callable[..., Record]


@contextmanager
def hidden(folder: Path) -> Iterator[None]:
    """Nobody finds the folder."""
    elsewhere = folder.with_name("hidden")
    folder.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(folder)


def test_a_whole_run(trained: Path, record_of: Read) -> None:
    record = record_of(trained)
    assert record.notices == []
    assert record.classes == (IMAGE, SCRIPT, "blue")
    assert record.measured is not None
    assert record.measured.images == 9
    assert record.measured.confusion is not None
    assert record.measured.confusion.count.sum() == 9
    assert [row["images"] for row in record.measured.rows or ()] == [3, 3, 3]
    assert len(record.epochs) == 2
    assert record.val is not None
    assert record.val["top1"] == record.epochs[record.about["epoch"] - 1]["val_top1"]
    assert record.calibration is not None


@pytest.mark.parametrize("damage", ["gone", "older", "other epoch", "table"])
def test_what_is_not_measured_is_measured_now(run: Path, record_of: Read, damage: str) -> None:
    file = run / "eval" / "test.json"
    before = json.loads(file.read_text())
    spoil(run, damage)
    record = record_of(run)
    assert record.notices == []
    assert record.measured is not None
    assert record.measured.result["branches"] == before["branches"]
    assert record.measured.confusion is not None
    assert record.measured.rows is not None


def spoil(run: Path, damage: str) -> None:
    file = run / "eval" / "test.json"
    result = json.loads(file.read_text())
    if damage == "gone":
        shutil.rmtree(run / "eval")
    elif damage == "cut":
        file.write_text(file.read_text()[:40])
    elif damage == "older":
        file.write_text(json.dumps({key: value for key, value in result.items() if key != "files"}))
    elif damage == "other epoch":
        file.write_text(json.dumps(result | {"epoch": 77}))
    else:
        (run / result["files"][{"table": "classes", "matrix": "confusion"}[damage]]).write_text("x,y\n1\n")


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        ("gone", (False, False, False)),
        ("cut", (False, False, False)),
        ("other epoch", (False, False, False)),
        ("older", (True, False, False)),
        ("table", (True, False, True)),
        ("matrix", (True, True, False)),
    ],
)
def test_without_the_data_what_is_left_is_kept_and_the_rest_told(
    run: Path, odd_photos: Path, record_of: Read, damage: str, kept: tuple[bool, bool, bool]
) -> None:
    spoil(run, damage)
    with hidden(odd_photos):
        record = record_of(run)
    (notice,) = record.notices
    assert "numbers are missing or not complete" in notice
    assert f"`fgvc eval {run} --split test`" in notice
    measured = record.measured
    found = (measured is not None, bool(measured and measured.rows), bool(measured and measured.confusion))
    assert found == kept


def test_a_measured_run_needs_no_data(run: Path, odd_photos: Path, record_of: Read) -> None:
    with hidden(odd_photos):
        assert record_of(run).notices == []


def test_no_model_yet(run: Path, record_of: Read) -> None:
    (run / "model.safetensors").unlink()
    record = record_of(run)
    assert record.measured is None
    (notice,) = record.notices
    assert f"fgvc train --resume {run}" in notice


def test_while_another_process_trains_nothing_is_measured(run: Path, record_of: Read) -> None:
    shutil.rmtree(run / "eval")
    with RunFolder(run).locked():
        record = record_of(run)
    (notice,) = record.notices
    assert "another process is writing" in notice
    assert not (run / "eval" / "test.json").exists()


@pytest.mark.parametrize("name", ["metrics.csv", "environment.json", "calibration.json", "splits.json"])
def test_a_damaged_file_is_told(run: Path, record_of: Read, name: str) -> None:
    (run / name).write_text("[1, 2\nx")
    (notice,) = record_of(run).notices
    assert name in notice


@pytest.mark.parametrize("name", ["run.json", "classes.json"])
def test_without_these_there_is_nothing_to_say(run: Path, record_of: Read, name: str) -> None:
    (run / name).write_text("{")
    with pytest.raises(FgvcError, match=name):
        record_of(run)


def test_a_split_that_is_not_there(run: Path, record_of: Read) -> None:
    assert record_of(run, "val").measured is not None
    with pytest.raises(NoSplitError, match="has no dev split"):
        record_of(run, "dev")
