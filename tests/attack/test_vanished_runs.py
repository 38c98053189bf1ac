"""A run's folder is deleted or becomes read-only while a command works on it: one line, and nothing half made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fgvc_cli.files import NotWritable, write_json
from fgvc_cli.report import page
from fgvc_cli.training import epoch as epoch_module
from fgvc_cli.training import train as train_module
from tests.conftest import disk_of

TRAIN = (
    "train --dataset folder --data-dir {photos} --image-size 32 --backbone tiny --weights none --batch-size 5 "
    "--epochs 2 --device cpu --workers 0 --val-fraction 0.25 --out {out}"
)
PLACES = [
    pytest.param(train_module, "train_epoch", 1, id="before the first epoch"),
    pytest.param(epoch_module, "evaluate", 1, id="in an epoch"),
    pytest.param(epoch_module, "evaluate", 2, id="in the second epoch"),
    pytest.param(epoch_module, "save_model", 1, id="before the model"),
    pytest.param(train_module, "calibrate_run", 1, id="before calibration"),
    pytest.param(train_module, "evaluate_run", 1, id="before evaluation"),
]


def before(monkeypatch: pytest.MonkeyPatch, module: object, name: str, at: int, act) -> None:
    """Call `act` just before the call number `at` of a function."""
    whole, calls = getattr(module, name), 0

    def acting(*arguments: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at:
            act()
        return whole(*arguments, **more)

    monkeypatch.setattr(module, name, acting)


def one_line(answer) -> str:
    """The command's only error line."""
    assert answer.code in (1, 2)
    assert "Traceback" not in answer.err
    assert "Exception" not in answer.err
    line = answer.err.splitlines()[-1]
    assert line.startswith("fgvc: ")
    assert answer.err.count("fgvc: ") == 1
    assert "(--debug" not in line
    return line


@pytest.mark.parametrize(("module", "name", "at"), PLACES)
def test_a_deleted_run_stays_deleted(command, photos, tmp_path, monkeypatch, module, name, at) -> None:
    out = tmp_path / "runs" / "gone"
    before(monkeypatch, module, name, at, lambda: shutil.rmtree(out))
    line = one_line(command(*TRAIN.format(photos=photos, out=out).split()))
    assert str(out) in line
    assert "is intact" not in line
    assert not out.exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with disk_of(tmp_path / "disk", mebibytes=40) as folder:
        yield folder
        freeze(folder, "rw")


def freeze(disk: Path, mode: str = "ro") -> None:
    """Nothing on the disk can be written any more."""
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


@pytest.mark.parametrize(("module", "name", "at"), PLACES[2:])
def test_a_run_that_becomes_read_only(command, photos, disk, monkeypatch, module, name, at) -> None:
    def close() -> None:
        # An open file, like that of the TensorBoard events, keeps a disk writable: a bind mount does not ask.
        subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)

    before(monkeypatch, module, name, at, close)
    try:
        line = one_line(command(*TRAIN.format(photos=photos, out=disk / "run").split()))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    assert "not writable" in line
    assert "is intact" in line


@pytest.fixture
def read_only(disk: Path, whole_run: Path) -> Path:
    """The run on a disk that nobody can write."""
    shutil.copytree(whole_run, disk / "run")
    freeze(disk)
    return disk / "run"


def test_eval_of_a_read_only_run_prints_its_numbers(command, read_only, tmp_path) -> None:
    answer = command("eval", read_only, "--json", "--per-class")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    kept = json.loads((read_only / "eval/test.json").read_text())
    assert result["branches"] == kept["branches"]
    assert result["confusions"] == kept["confusions"]
    assert [row["class"] for row in result["per_class"]] == ["blue", "green", "red"]
    assert "note: not saved: cannot write" in answer.err
    assert "not writable" in answer.err
    shown = command("eval", read_only)
    assert shown.code == 0
    assert "mean per class" in shown.out
    assert "written to" not in shown.out


def test_eval_writes_to_out_when_asked(command, read_only, tmp_path) -> None:
    answer = command("eval", read_only, "--out", tmp_path / "new" / "numbers")
    assert answer.code == 0, answer.err
    assert "not saved" not in answer.err
    names = sorted(path.name for path in (tmp_path / "new/numbers").iterdir())
    assert names == [
        *(f"test-{kind}" for kind in ("classes.csv", "confusion.csv", "confusion.png", "predictions.csv")),
        "test-selective.csv",
        "test-selective.png",
        "test.json",
    ]
    assert f"written to {tmp_path}/new/numbers/: test.json, test-classes.csv" in answer.out
    result = json.loads((tmp_path / "new/numbers/test.json").read_text())
    assert result["files"]["classes"] == "test-classes.csv"


def test_an_out_that_cannot_be_written_is_a_failure_with_the_numbers(command, read_only, tmp_path) -> None:
    answer = command("eval", read_only, "--out", read_only / "new")
    assert answer.code == 1
    assert "mean per class" in answer.out
    assert "not writable" in one_line(answer)


def test_other_commands_on_a_read_only_run(command, read_only, tmp_path) -> None:
    assert command("runs", read_only.parent).code == 0
    assert command("report", read_only, "--sample", 0, "-o", tmp_path / "page.html").code == 0
    assert "not writable" in one_line(command("train", "--resume", read_only))


def test_no_folder_is_made_for_a_file_of_a_run(tmp_path) -> None:
    with pytest.raises(Exception, match=r"its folder does not exist \(any more\)") as caught:
        write_json(tmp_path / "gone" / "x.json", 1)
    assert not isinstance(caught.value, NotWritable)
    assert list(tmp_path.iterdir()) == []


def test_the_page_of_a_deleted_run_is_not_written(command, run, monkeypatch) -> None:
    before(monkeypatch, page, "render", 1, lambda: shutil.rmtree(run))
    one_line(command("report", run, "--sample", 0))
    assert not run.exists()


def test_permissions_that_are_missing_are_told_as_such(run) -> None:
    """As root without its right to read everything: each command says what it may not read."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        drop = []
    checkpoint = next((run / "checkpoints").iterdir())
    cases = [
        (checkpoint / "state.json", "train --resume run", f"cannot read checkpoint run/checkpoints/{checkpoint.name}")
    ]
    cases += [
        (run / "run.json", "train --resume run", "cannot read run/run.json"),
        (run, "train --resume run", "cannot write"),
    ]
    for path, line, words in cases:
        mode = path.stat().st_mode
        path.chmod(0o555 if path.is_dir() else 0)
        try:
            argv = [*drop, sys.executable, "-m", "fgvc_cli", *line.split()]
            done = subprocess.run(argv, cwd=run.parent, capture_output=True, text=True, timeout=120, check=False)
        finally:
            path.chmod(mode)
        last = done.stderr.splitlines()[-1]
        assert (done.returncode, last.startswith(f"fgvc: {words}")) == (1, True), done.stderr
        assert "damaged" not in last
        assert "delete" not in last
