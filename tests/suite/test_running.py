"""Suites that are stopped: their runs get one signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fgvc_cli.suite.places import ThisMachine, each

SUITE = """
seeds = [0]
[[rows]]
name = "a"
method = "baseline"
dataset = "folder"
data_dir = "{photos}"
backbone = "tiny"
weights = "none"
image_size = 32
epochs = 100000
device = "cpu"
workers = 0
set = ["data.resize=36"]
"""


def test_ctrl_c_stops_the_runs_and_they_are_saved(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SUITE.format(photos=photos))
    command = [sys.executable, "-m", "fgvc_cli", "suite", "s.toml"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    metrics = tmp_path / "suites/s/a/seed-0/metrics.csv"
    end = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 2) and time.monotonic() < end:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "stopped" in (tmp_path / "suites/s/a/seed-0.log").read_text()
    assert any((tmp_path / "suites/s/a/seed-0/checkpoints").iterdir())


@pytest.mark.parametrize(("gpus", "at_once", "slots"), [((), 1, 1), ((), 3, 3), (("0", "1"), 1, 2), (("0", "1"), 2, 4)])
def test_so_many_run_at_once(tmp_path: Path, gpus: tuple[str, ...], at_once: int, slots: int) -> None:
    place = ThisMachine(gpus, at_once)
    everyone = threading.Barrier(slots)  # nobody passes unless so many run at the same time
    seen = []

    def work(number: int) -> None:
        def started(where: str) -> None:
            seen.append(where)
            everyone.wait(30)

        place.run([sys.executable, "-c", ""], tmp_path / f"{number}.log", started, lambda: False)

    assert place.slots == slots
    each(place, range(slots), work)
    assert sorted(seen) == sorted([f" on GPU {gpu}" for gpu in gpus] * at_once or [""] * at_once)
