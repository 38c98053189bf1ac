"""`fgvc predict` as its user sees it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import fgvc_cli as fgvc
from fgvc_cli.inference.pictures import find_pictures
from fgvc_cli.predict.asked import PredictRequest
from fgvc_cli.predict.rows import JsonLines
from fgvc_cli.predict.unfinished import Unfinished
from fgvc_cli.predict.writing import about
from tests.cli.conftest import Answer
from tests.conftest import small_spec, untrained, untrained_run

CLASSES = ("blue", "green", "red")
Command = Callable[..., Answer]


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict") / "run"
    spec = small_spec(photos, "reaps", "method.units=8")
    return untrained_run(spec, CLASSES, folder, temperature=0.5)


@pytest.fixture(scope="module")
def plain(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(small_spec(photos), CLASSES, tmp_path_factory.mktemp("plain") / "model.safetensors")


def test_answers_alone_are_on_stdout(command: Command, run: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "test", tmp_path / "mine")
    (tmp_path / "mine/blue/cut.png").write_bytes(b"x")
    done = command("predict", "mine", "--run", run, "--format", "json", "--boxes", "--top", 2)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 1
    assert [row["image"] for row in rows[:4]] == [f"mine/blue/{name}.png" for name in ("0", "1", "2", "cut")]
    assert rows[3] == {"image": "mine/blue/cut.png", "error": "is not a readable image (unknown format or damaged)"}
    assert len(rows) == 10
    assert all(len(row["top"]) == 2 and len(row["boxes"]["ran"]) == 1 for row in rows if "top" in row)
    assert done.err.splitlines() == [
        "run: reaps, 3 classes, on cpu, probabilities calibrated at temperature 0.500",
        "mine/blue/cut.png: is not a readable image (unknown format or damaged)",
        "9 predicted, 0 of them unsure, 1 failed",
    ]


def test_python_says_the_same(command: Command, run: Path, photos: Path) -> None:
    done = command("predict", photos / "test", "--run", run, "--format", "json", "--boxes", "--min-confidence", 0.35)
    rows = [json.loads(line) for line in done.out.splitlines()]
    answers = fgvc.load(run).predict(fgvc.images(photos / "test"), boxes=True, min_confidence=0.35)
    for row, answer in zip(rows, answers, strict=True):
        assert (row["answer"], row["unsure"]) == (answer.text, answer.unsure)
        assert [one["class"] for one in row["top"]] == [one.name for one in answer.top]
        assert [one["probability"] for one in row["top"]] == [round(one.probability, 6) for one in answer.top]


def test_the_newest_run_and_a_list_on_stdin(
    command: Command, run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, tmp_path / "runs/mine")
    lines = f"{photos}/test/red/0.png\n\ngone.png\n".encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    done = command("predict", "-", "--boxes", "--min-confidence", "1", "--top", "1")
    assert done.code == 1
    assert done.out.splitlines()[1].split()[1] == "unsure"
    assert "newest run with boxes: runs/mine" in done.err
    assert "gone.png: cannot be read (No such file or directory)" in done.err
    assert "1 predicted, 1 of them unsure, 1 failed" in done.err


def test_a_file_alone_answers_as_its_run_does(command: Command, run: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copy(run / "model.safetensors", tmp_path / "m.safetensors")
    answers = [
        command("predict", photos / "test", "--run", model, "--format", "csv") for model in (run, "m.safetensors")
    ]
    assert [answer.code for answer in answers] == [0, 0]
    assert answers[0].out == answers[1].out
    assert len(list(csv.DictReader(io.StringIO(answers[0].out)))) == 9


def test_a_file_is_whole_and_its_ending_says_what(command: Command, plain: Path, photos: Path, tmp_path: Path) -> None:
    for name, first in (("a.csv", "image,"), ("a.jsonl", '{"image"'), ("a.txt", "image ")):
        (tmp_path / name).write_text("old")
        done = command("predict", photos / "test", "--run", plain, "--output", name, "--min-confidence", "0.1")
        assert (done.code, done.out) == (0, "")
        assert (tmp_path / name).read_text().startswith(first)
        assert "note: this model has no temperature" in done.err
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "a.jsonl", "a.txt"}


@pytest.mark.parametrize("output", [None, "a.json"])
def test_ctrl_c_leaves_whole_lines(
    command: Command, plain: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str | None
) -> None:
    lines = JsonLines.lines

    def interrupted(rows: JsonLines, row: object) -> str:
        if "green/0" in row.picture.name:  # the second of the batch under way
            os.kill(os.getpid(), signal.SIGINT)
        return lines(rows, row)

    monkeypatch.setattr(JsonLines, "lines", interrupted)
    more = ("--format", "json") if output is None else ("--output", output)
    done = command("predict", photos / "test", "--run", plain, "--batch-size", 2, *more)
    assert done.code == 130
    assert "fgvc: stopped after 4 of 9 images" in done.err
    if output is None:
        assert len([json.loads(line) for line in done.out.splitlines()]) == 4
        assert done.out.endswith("\n")
        return
    assert [path.name for path in tmp_path.iterdir()] == ["a.json.unfinished"]
    monkeypatch.setattr(JsonLines, "lines", lines)
    done = command("predict", photos / "test", "--run", plain, "--batch-size", 2, *more)
    assert "4 of 9 images were predicted before" in done.err
    assert "9 predicted, 0 of them unsure, 0 failed" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    whole = command("predict", photos / "test", "--run", plain, "--batch-size", 2, "--format", "json")
    assert (tmp_path / "a.json").read_text() == whole.out


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            ["--top", "1"],
            "was begun with another top (2, now 1): finish it as it was begun, delete it, or give another",
        ),
        (["--min-confidence", "0.5"], "another min_confidence (0.0, now 0.5)"),
        (["--run", "{run}"], "another model (crc32:"),
        (["{photos}/train"], "another list of images (3 images"),
        (["--precision", "bf16"], "another precision (fp32, now bf16)"),
        (["--format", "csv"], "another format (json, now csv)"),
    ],
)
def test_what_was_begun_for_something_else_is_refused(
    command: Command, plain: Path, run: Path, photos: Path, tmp_path: Path, changes: list[str], line: str
) -> None:
    arguments = [photos / "test/red", "--run", plain, "--top", 2, "--output", "a.json"]
    options = {"format": "json", "precision": "fp32", **vars(PredictRequest(top=2))}
    begun = about(plain, find_pictures([str(photos / "test/red")]), options)

    kept = Unfinished(tmp_path / "a.json", 3)
    kept.begin(begun)
    kept.close()
    done = command("predict", *arguments, *(word.format(run=run, photos=photos) for word in changes))
    assert done.code == 2
    assert line in done.err.splitlines()[-1]
    assert (tmp_path / "a.json.unfinished/about.json").exists()


def test_an_output_where_nothing_may_be_written(command: Command, plain: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = command("predict", photos / "test", "--run", plain, "--output", "file/a.csv")
    assert done.code == 1
    assert "cannot write file" in done.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["x.png"], "x.png: there is no such file or folder"),
        (["{photos}", "--run", "runs/x"], "there is no run at runs/x"),
        (["{photos}"], "no trained run under runs/"),
        (["{photos}", "--format", "xml"], "--format xml: choose table, json, csv or parquet"),
        (
            ["{photos}", "--run", "{plain}", "--boxes"],
            "--boxes: method baseline has none; leave it out, or name a run of",
        ),
        (["{photos}", "--run", "{plain}", "--output", "a.jpg"], "--output a.jpg: this is the name of an image"),
        (["{photos}", "--run", "{plain}", "--output", "/dev/null"], "this is not a regular file"),
        (["{photos}", "--run", "{plain}", "--precision", "fp8"], "train.precision"),
        (["{photos}", "--run", "{plain}", "--format", "parquet"], "--format parquet needs a file: give --output"),
        (["{photos}", "--top", "0"], "Invalid value for '--top'"),
        (["{photos}", "--min-confidence", "80"], "Invalid value for '--min-confidence'"),
    ],
)
def test_bad_requests(command: Command, plain: Path, photos: Path, arguments: list[str], line: str) -> None:
    done = command("predict", *(word.format(photos=photos, plain=plain) for word in arguments))
    assert (done.code, done.out) == (2, "")
    assert line in done.err
    assert len(done.err.splitlines()) == 1


def test_a_reader_that_leaves_ends_it_quietly(plain: Path, photos: Path) -> None:
    command = [sys.executable, "-m", "fgvc_cli", "predict", str(photos), "--run", str(plain), "--batch-size", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 141
    assert "BrokenPipe" not in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_two_processes_and_kill_9(plain: Path, photos: Path, tmp_path: Path) -> None:
    """One of two processes is killed half-way; the next start answers what is missing, and each image has one row."""
    for number in range(400):
        shutil.copy(photos / f"test/red/{number % 3}.png", tmp_path / f"photo-{number:03d}.png")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    predict = ["-m", "fgvc_cli", "predict", str(tmp_path), "--model", str(plain), "--batch-size", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = tmp_path / "a.jsonl"
    with subprocess.Popen([*torchrun, *predict, "--output", str(output)], env=environment) as first:
        while not sum(log.stat().st_size for log in tmp_path.glob("a.jsonl.unfinished/*.rows")) and not first.poll():
            time.sleep(0.01)
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        assert first.wait(timeout=120) == 1
    assert not output.exists()
    again = [*torchrun, *predict, "--output", str(output)]
    done = subprocess.run(again, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert "of 400 images were predicted before" in done.stderr
    one = [sys.executable, *predict, "--format", "json"]
    alone = subprocess.run(one, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout
    rows, expected = ([json.loads(line) for line in text.splitlines()] for text in (output.read_text(), alone))
    assert [row["image"] for row in rows] == [row["image"] for row in expected]
    assert [row["answer"] for row in rows] == [row["answer"] for row in expected]
    assert not (tmp_path / "a.jsonl.unfinished").exists()
