from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fgvc_cli.cli.tables import print_evaluation
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.conftest import small_spec
from tests.making import mk


def fgvc(*arguments, cwd=None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fgvc_cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    train(small_spec(photos, "reaps", "train.epochs=1"), out, Console(file=io.StringIO()))
    return out


def test_json_stands_alone_on_stdout(run) -> None:
    done = fgvc("eval", run, "--json", "--per-class")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    per_class = result.pop("per_class")
    assert [row["class"] for row in per_class] == ["blue", "green", "red"]
    assert result == json.loads((run / "eval/test.json").read_text())
    assert len(done.stdout.splitlines()) == 1


def test_what_is_printed(run) -> None:
    done = fgvc("eval", run)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    for words in ("macro F1", "calibration error", "classes with the lowest F1", "precision", "psn_global"):
        assert words in text
    assert f"written to {run}/: eval/test.json, eval/test-classes.csv" in text
    branches = [line.split()[0] for line in text.splitlines() if line.count("%") == 4]
    assert branches[:2] == ["final", "ran"]


RESULT = {
    "run": "runs/x",
    "split": "test",
    "images": 40,
    "classes": 3,
    "branches": {"final": {"top1": 0.5, "top5": 1.0, "mean_per_class": 0.25, "macro_f1": 0.125}},
}


def test_an_older_evaluation_is_shown_as_far_as_it_goes(capsys) -> None:
    branches = {"final": dict.fromkeys(("top1", "top5", "mean_per_class"), 0.5)}
    print_evaluation(RESULT | {"branches": branches})
    out = capsys.readouterr().out
    assert "top-3" in out
    assert "–" in out


def test_temperature_parts_and_odd_names(capsys) -> None:
    pair = {"true": "[red]a[/]", "predicted": "b, c", "images": 3, "share": 0.3}
    row = {"class": "[b]", "images": 0, "precision": 0.0, "recall": None, "f1": None}
    found = {
        "boxes": {"ran": {"mean_iou": 0.5, "over_half": 0.25}},
        "maps": {"ran": {"pointing": 0.75, "pointing_part": 0.125}},
        "parts": {"images": 40, "reach": 0.15, "random_point": 0.0625},
    }
    more = {"calibration": {"ece": 0.04, "temperature": 1.5, "ece_calibrated": 0.01}, "localisation": found}
    print_evaluation(RESULT | more | {"confusions": [pair], "per_class": [row], "worst_classes": []})
    out = capsys.readouterr().out
    assert "calibration error 4.00 %, 1.00 % at temperature 1.500" in out
    for words in ("[red]a[/]", "b, c", "30.00 %", "[b]", "12.50 %", "random point in the true box", "6.25 %"):
        assert words in out


def test_a_split_that_is_not_there_is_one_line(run) -> None:
    done = fgvc("eval", run, "--split", "val")
    assert done.returncode == 2
    assert "has no val split; --val-fraction takes one from train" in done.stderr


def test_new_photos(run, tmp_path) -> None:
    """Exit code 2 and the list of what is unknown; with the flag, the rest is measured under its own name."""
    mk(tmp_path / "trip", "red=2", "hawk=1", "Blue=1")
    done = fgvc("eval", run, "--data-dir", tmp_path / "trip")
    assert done.returncode == 2
    start = f"fgvc: {tmp_path}/trip: the run does not know 1 of 3 classes: 'hawk' (1 images): rename them"
    assert done.stderr.strip().splitlines()[-1].startswith(start)
    assert not (run / "eval/trip.json").exists()
    done = fgvc("eval", run, "--data-dir", tmp_path / "trip", "--unknown-classes", "skip", "--name", "spring")
    assert done.returncode == 0, done.stderr
    assert f"{run}: 3 spring images, 3 classes" in done.stdout
    assert f"written to {run}/: eval/spring.json, eval/spring-classes.csv" in done.stdout
    assert "no photo of 1 of the run's 3 classes (first: green)" in done.stderr
    assert json.loads((run / "eval/spring.json").read_text())["left_out"] == {"hawk": 1}
