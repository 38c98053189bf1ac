"""The scripts in benchmarks/ follow the code that they measure."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.hostile.forked import Answer, start, wait
from benchmarks.hostile.kills import _judged

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(file.stem for file in ROOT.joinpath("benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_still_finds_what_it_measures(name) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").main)


def test_the_soak_finds_nothing_in_a_few_inputs(tmp_path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.soak", "--kills", "1", "--inputs", "12", "--out", str(figures)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert found["kills"]["equal"] == 1
    assert sum(table.get("inputs", 0) for table in found.values()) == 12
    assert not [line for line in done.stdout.splitlines() if re.match(r"[a-z ]+:\d+: ", line)], done.stdout


@pytest.mark.parametrize(
    ("code", "err", "wrong"),
    [
        (2, "fgvc: epochs: must be a whole number\n", []),
        (None, "", ["hang"]),
        (1, "Traceback (most recent call last):\n", ["traceback"]),
        (1, "fgvc: KeyError: 'a' (--debug before the command shows where)\n", ["internal error"]),
        (0, "/PIL/Tiff.py:9: UserWarning: Corrupt EXIF data\n  warnings.warn\n", ["a library's warning"]),
        (-11, "", ["exit code -11"]),
        (2, "", ["no message"]),
    ],
)
def test_what_the_soak_finds_in_an_answer(code, err, wrong) -> None:
    assert Answer(code, "", err, 1.0).findings() == wrong


@pytest.mark.parametrize(
    ("code", "number", "err", "sound"),
    [
        (-9, signal.SIGKILL, "", True),
        (1, signal.SIGKILL, "fgvc: no space\n", False),  # it failed by itself before it was killed
        (130, signal.SIGINT, "epoch 1/3\nfgvc: interrupted\n", True),
        (130, signal.SIGTERM, "", False),
        (130, signal.SIGINT, "fgvc: interrupted\nfgvc: interrupted\n", False),
        (130, signal.SIGINT, "fgvc: interrupted\nException ignored in\n", False),
        (-15, signal.SIGTERM, "", False),
        (None, signal.SIGTERM, "", False),
    ],
)
def test_what_the_soak_asks_of_a_killed_training(code, number, err, sound) -> None:
    assert (not _judged(Answer(code, "", err, 1.0), number)) == sound


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_soak_may_send_a_signal_at_once(tmp_path, number) -> None:
    work = tmp_path / "work"
    work.mkdir()
    began, child = time.monotonic(), start(["presets"], work, {"HOME": str(tmp_path)})
    os.kill(child, number)
    answer = wait(child, work, 60, began)
    assert not _judged(answer, number), answer
