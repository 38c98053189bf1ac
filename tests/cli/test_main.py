from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fgvc_cli.cli.main import explain
from fgvc_cli.errors import BadRequest, FgvcError
from tests.conftest import small_spec, untrained

SMALL = [
    "--image-size",
    "32",
    "--backbone",
    "tiny",
    "--weights",
    "none",
    "--batch-size",
    "5",
    "--device",
    "cpu",
    "--workers",
    "0",
]


def fgvc(*arguments, cwd=None) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    command = [sys.executable, "-m", "fgvc_cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def test_help_is_quick_and_loads_no_torch() -> None:
    code = "import sys; import fgvc_cli.cli.main; assert not {'torch', 'numpy', 'torchvision'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert fgvc("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # Seconds of the processor: the goal is 0.3; a busy machine must not fail the suite, an import of torch (2) must.
    assert min(times) < 0.6


def test_predict_loads_nothing_that_it_does_not_need(photos: Path, tmp_path: Path) -> None:
    model = untrained(small_spec(photos), ("blue", "green", "red"), tmp_path / "model.safetensors")
    image = photos / "test" / "red" / "0.png"
    code = f"""
import sys
from fgvc_cli.cli.main import main
sys.argv = ["fgvc", "predict", {str(image)!r}, "--run", {str(model)!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"matplotlib", "scipy", "torchmetrics", "tensorboard", "cv2", "jinja2", "timm", "sklearn"}}
own = {{"fgvc_cli.data.datasets", "fgvc_cli.data.loading.loader", "fgvc_cli.evaluation", "fgvc_cli.training"}}
assert not (heavy | own) & set(sys.modules), (heavy | own) & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "--foo"], "No such option"),
        (["frain"], "No such command 'frain'"),
        (["train", "--epochs", "x"], "Invalid value for '--epochs'"),
        (["train", "--epochs", "0"], "train.epochs: must be at least 1 (got 0)"),
        (["train", "--method", "cnn"], "no method is called 'cnn'; there are baseline, reaps"),
        (["train", "--dataset", "cats"], "no dataset is called 'cats'"),
        (["train", "--preset", "x"], "no preset is called 'x'"),
        (["train", "--set", "x"], "--set takes FIELD=VALUE"),
        (["train", "--resume", "nowhere"], "there is no run at nowhere"),
        (["train", "--resume", ".", "--lr", "1", "--epochs", "3"], "leave --epochs, --lr out"),
        (["train", "--device", "tpu"], "train.device: must be auto, cpu, mps, cuda or cuda:N"),
        (["train", "--dataset", "cub", "--data-dir", "nowhere"], "CUB-200-2011 birds not found"),
        (["eval"], "no trained run under runs/"),
        (["eval", "nowhere"], "there is no run at nowhere"),
        (["presets", "show", "x"], "no preset is called 'x'"),
        (["summary", "--dataset", "folder"], "give the number of classes with --classes"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_2(arguments, line, tmp_path) -> None:
    result = fgvc(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert line in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_lists() -> None:
    assert "reaps-cub" in fgvc("presets").stdout
    assert '"tau": 0.1' in fgvc("presets", "show", "reaps-cub").stdout
    for arguments in (["presets"], ["presets", "show", "mc-cub"]):
        shown = " ".join(fgvc(*arguments).stdout.split())
        assert "best epoch on the test set." in shown
        assert "fgvc reports the last epoch or, with a validation split, the best epoch on that split." in shown
    assert "apcnn" in fgvc("methods").stdout
    assert "method.tau" in fgvc("methods", "reaps").stdout
    assert "CUB-200-2011" in fgvc("datasets").stdout
    assert "no runs" in fgvc("runs", "nowhere").stdout
    assert fgvc("--version").stdout.startswith("fgvc ")


def test_a_user_trains_evaluates_and_lists(photos, tmp_path) -> None:
    trained = fgvc("train", "--dataset", "folder", "--data-dir", photos, "--epochs", "2", *SMALL, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "epoch 2/2" in trained.stderr
    assert "mean per class" in trained.stdout
    again = fgvc("eval", "--json", cwd=tmp_path)
    result = json.loads(again.stdout)
    assert result["images"] == 9
    assert "newest run: runs/baseline-folder-" in again.stderr
    listed = fgvc("runs", cwd=tmp_path)
    assert f"{100 * result['branches']['final']['top1']:.2f} %" in listed.stdout
    run = next((tmp_path / "runs").iterdir())
    repeated = fgvc("train", "--config", run, "--out", "again", cwd=tmp_path)
    assert repeated.returncode == 0, repeated.stderr
    one, two = load_file(run / "model.safetensors"), load_file(tmp_path / "again/model.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_ctrl_c_saves_and_says_how_to_go_on(photos, tmp_path, workers) -> None:
    flags = ["--dataset", "folder", "--data-dir", str(photos), *SMALL, "--epochs", "400", "--workers", workers]
    command = [sys.executable, "-m", "fgvc_cli", "train", *flags, "--out", "run"]
    # A group of its own, to be sent what a terminal sends to all processes of the foreground.
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (tmp_path / "run/model.safetensors").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "resume with: fgvc train --resume run" in error.splitlines()[-1]
    assert "Traceback" not in error


def test_what_an_error_becomes() -> None:
    assert explain(BadRequest("x")) == ("fgvc: x", 2)
    assert explain(FgvcError("x")) == ("fgvc: x", 1)
    assert explain(KeyboardInterrupt())[1] == 130
    assert explain(torch.cuda.OutOfMemoryError("CUDA out of memory"))[0].startswith(
        "fgvc: out of memory: use a smaller"
    )
    assert explain(ValueError("odd")) == ("fgvc: ValueError: odd (--debug before the command shows where)", 1)
