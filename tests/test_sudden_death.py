"""kill -9 of the real command at random instants: resumed, the run is the one that was never killed."""

from __future__ import annotations

import csv
import io
import json
import random
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fgvc_cli.runs.journal import COSTS

FLAGS = shlex.split(
    "--method reaps --dataset folder --image-size 32 --backbone tiny --weights none --batch-size 3 --epochs 6 "
    "--device cpu --workers 0 --val-fraction 0.25 --ema-decay 0.9 --mixup 0.2 --cutmix 0.5 --class-balance "
    "--set train.threads=1 --set train.checkpoint_every=3"
)


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fgvc_cli", "train", *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(*arguments: str, cwd: Path) -> None:
    process = start(*arguments, cwd=cwd)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error


def facts(run: Path) -> tuple[list[dict[str, str]], dict]:
    rows = list(csv.DictReader(io.StringIO((run / "metrics.csv").read_text())))
    for row in rows:
        for cost in COSTS:
            row.pop(cost, None)
    return rows, json.loads((run / "eval/test.json").read_text())["branches"]


def kill_and_resume(photos: Path, folder: Path, instants: list[float]) -> None:
    """Kill a run so many seconds after its folder appears, again and again, then let it end."""
    arguments = [*FLAGS, "--data-dir", str(photos), "--out", "run"]
    for instant in instants:
        process = start(*arguments, cwd=folder)
        while not (folder / "run/run.json").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(instant)
        process.kill()
        process.wait()
        arguments = ["--resume", "run"]
    finish(*arguments, cwd=folder)


def check(photos: Path, tmp_path: Path, instants: list[float]) -> None:
    finish(*FLAGS, "--data-dir", str(photos), "--out", "whole", cwd=tmp_path)
    kill_and_resume(photos, tmp_path, instants)
    one, two = load_file(tmp_path / "whole/model.safetensors"), load_file(tmp_path / "run/model.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert facts(tmp_path / "whole") == facts(tmp_path / "run")
    assert not list((tmp_path / "run").rglob(".writing-*"))


def test_killed_twice(photos, tmp_path) -> None:
    dice = random.Random(0)
    check(photos, tmp_path, [dice.uniform(0, 2) for _ in range(2)])


def test_killed_while_the_demo_is_drawn(tmp_path) -> None:
    """The cache is there whole or not at all, and the next to draw sweeps up."""
    arguments = "Path('here'), size=32, train_per_class=20, test_per_class=1"
    code = f"from pathlib import Path; from fgvc_cli.data.demo.folder import generate; print(generate({arguments}))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    while len(list(tmp_path.rglob("*.png"))) < 20:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not list((tmp_path / "here").glob("demo-v*"))
    drawn = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert [path.name for path in (tmp_path / "here").iterdir()] == [Path(drawn.stdout.strip()).name]
    assert len(list(tmp_path.rglob("*.png"))) == 12 * 21


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_thirty_times(photos, tmp_path, seed) -> None:
    dice = random.Random(seed)
    check(photos, tmp_path, [dice.uniform(0, 4) for _ in range(3)])
