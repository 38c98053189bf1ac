"""Two processes are one run: torchrun starts them as a user would, gloo joins them on the CPU."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fgvc_cli.errors import BadRequest
from fgvc_cli.machine import distributed
from tests.conftest import STEPPED
from tests.machine import distributed_worker
from tests.training.test_train import assert_same_run

FLAGS = shlex.split(
    "--dataset folder --image-size 32 --backbone tiny --weights none --device cpu --workers 0 --epochs 2 "
    "--set train.threads=1 --set train.log_every=3"
)


def command(*arguments: str, processes: int = 1, restarts: int = 0) -> list[str]:
    if processes == 1:
        return [sys.executable, "-m", "fgvc_cli", "train", *arguments]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*torchrun, "--max-restarts", str(restarts), "-m", "fgvc_cli", "train", *arguments]


def run(*arguments: str, cwd: Path, processes: int = 1) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = command(*FLAGS, *arguments, processes=processes)
    return subprocess.run(whole, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 classes, 41 training and 103 test images: neither is a multiple of anything."""
    root, dice = tmp_path_factory.mktemp("many"), np.random.RandomState(1)
    for split, count in (("train", 41), ("test", 103)):
        for number in range(count):
            file = root / split / "abc"[number % 3] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = dice.randint(0, 120, (34, 34, 3)).astype(np.uint8)
            pixels[6:28, 6:28, number % 3] += 100
            Image.fromarray(pixels).save(file)
    return root


def worker(*arguments: str, cwd: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    whole = [*torchrun, "-m", "tests.machine.distributed_worker", *arguments]
    done = subprocess.run(whole, cwd=cwd, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr


def test_two_processes_are_one_run(many: Path, tmp_path: Path) -> None:
    """Same folder, same steps, same images a step, one writer; what each counted of 103 images comes together."""
    arguments = ("--data-dir", str(many), "--batch-size", "6", "--val-fraction", "0.25", "--method", "reaps")
    for processes, out in ((1, "one"), (2, "two")):
        done = run(*arguments, "--out", out, cwd=tmp_path, processes=processes)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("103 test images, 3 classes") == 1
        assert done.stderr.count("run: ") == 1
    assert len(_rows(tmp_path / "two/metrics.csv")) == len(_rows(tmp_path / "one/metrics.csv")) == 2
    one = json.loads((tmp_path / "one/eval/test.json").read_text())
    worker("evaluate", "one", "measured", cwd=tmp_path)
    for rank in "01":
        two = json.loads((tmp_path / "measured" / rank / "result.json").read_text())
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-6)  # of sums in another order
        assert one["calibration"]["ece"] == pytest.approx(two["calibration"]["ece"], rel=1e-6)
        same = ("images", "branches", "confusions", "worst_classes")
        assert {key: one[key] for key in same} == {key: two[key] for key in same}


def test_steps_are_those_of_one_process(many: Path, tmp_path: Path) -> None:
    """More than 20 steps of every method, with each batch shared as 3 and 2 images: the weights are the same."""
    worker("steps", str(many), "two", cwd=tmp_path)
    (tmp_path / "one").mkdir()
    distributed_worker.all_methods(many, tmp_path / "one")
    for method in STEPPED:
        one, *two = (load_file(tmp_path / part / f"{method}.safetensors") for part in ("one", "two/0", "two/1"))
        for name, weight in one.items():
            for other in two:
                assert torch.allclose(other[name], weight, rtol=1e-5, atol=1e-5), (method, name)


@pytest.mark.slow
def test_compiled_steps_are_those_of_one_process(many: Path, tmp_path: Path) -> None:
    """As a static graph, and with gradients of two batches exchanged at once."""
    worker("compiled", str(many), "two", cwd=tmp_path)
    for accumulate in (1, 2):
        file = f"{accumulate}.safetensors"
        distributed_worker.steps("baseline", many, tmp_path / file, f"optim.accumulate={accumulate}")
        one, *two = (load_file(tmp_path / part / file) for part in (".", "two/0", "two/1"))
        for name, weight in one.items():
            for other in two:
                assert torch.allclose(other[name], weight, rtol=1e-5, atol=1e-5), (accumulate, name)


def test_one_killed_process_and_a_restart_change_nothing(many: Path, tmp_path: Path) -> None:
    """kill -9 of one of two processes: torchrun starts both again, and the run ends as if nothing had happened."""
    arguments = [*FLAGS, "--data-dir", str(many), "--method", "baseline", "--batch-size", "5", "--ema-decay", "0.9"]
    arguments += ["--mixup", "0.3", "--epochs", "6", "--set", "train.checkpoint_every=3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for out in ("whole", "run"):
        process = subprocess.Popen(
            command(*arguments, "--out", out, processes=2, restarts=1),
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if out == "run":
            _kill_one(process, tmp_path / out)
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    assert "resuming at epoch" in error
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    refused = run("--data-dir", str(many), "--method", "baseline", "--out", "run", cwd=tmp_path, processes=2)
    assert refused.stderr.count("run holds a run of another spec") == 1


def _kill_one(torchrun: subprocess.Popen[str], folder: Path) -> None:
    """kill -9 of the last of torchrun's processes, once there is a checkpoint in mid-run."""
    while not list((folder / "checkpoints").glob("0*")) and torchrun.poll() is None:
        time.sleep(0.05)
    children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)


def test_shared_statistics_are_asked_for_only_where_they_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    module, cuda, cpu = torch.nn.Sequential(torch.nn.BatchNorm2d(3)), torch.device("cuda"), torch.device("cpu")
    assert isinstance(distributed.shared_statistics(module, cuda)[0], torch.nn.BatchNorm2d)
    monkeypatch.setattr(distributed, "world", lambda: distributed.World(0, 2, 0))
    assert isinstance(distributed.shared_statistics(module, cuda)[0], torch.nn.SyncBatchNorm)
    with pytest.raises(BadRequest, match="needs GPUs"):
        distributed.shared_statistics(module, cpu)


def _rows(file: Path) -> list[str]:
    return file.read_text().splitlines()[1:]
