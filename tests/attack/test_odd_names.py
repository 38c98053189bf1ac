"""File and class names that are no text, or hold a newline or an escape sequence, or are as long as they may be."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.splits import apply_record, apply_spec, split_record
from fgvc_cli.files import json_text, write_json, write_text
from fgvc_cli.runs.checkpoint import about_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.cli.conftest import Answer
from tests.conftest import small_spec
from tests.making import noise_jpeg

LATIN = os.fsdecode(b"caf\xe9.png")
FILES = (LATIN, "new\nline.png", "line\r\n.png", "esc\x1b[2Jape.png", "x" * 251 + ".png", "=quote\",';.png", "[b].png")
CLASSES = ("esc\x1b[31m", "k" * 255, "[red]=1+1", "two\nlines")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images in which every name is odd."""
    root = tmp_path_factory.mktemp("odd") / os.fsdecode(b"d\xe9 \x1b[1m\n")
    try:
        for name in CLASSES:
            for file in FILES:
                noise_jpeg(root / name / file, seed=json_text([name, file]))
    except OSError:
        pytest.skip("this file system holds only names that are text")
    return root


@pytest.fixture(scope="module")
def run(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on that folder: its splits are drawn and recorded, its images cached, its copies looked for."""
    home = tmp_path_factory.mktemp("home")
    path = home / os.fsdecode(b"r\xe9\n\x1b[1m")
    sets = ("train.epochs=1", "data.val_fraction=0.2", "data.cache=disk", "data.duplicates=near", "data.group_by=null")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / os.fsdecode(b"c\xe9")))
        train(small_spec(odd, "baseline", *sets), path, Console(quiet=True))
    return RunFolder(path)


def files_of(split: list[str]) -> set[str]:
    return {name.rpartition("/")[2] for name in split}


def test_training_records_every_name_byte_by_byte(run: RunFolder, odd: Path) -> None:
    splits = json.loads((run.path / "splits.json").read_bytes())["splits"]
    assert {file for split in splits.values() for file in files_of(split)} == set(FILES)
    assert run.spec().data.root == odd
    assert run.classes() == tuple(about_model(run.model_file)["classes"])
    assert set(run.classes()) == {*CLASSES[:3], "two lines"}
    assert about_model(run.model_file)["spec"]["data"]["root"] == str(odd)


def test_the_recorded_splits_are_found_again(odd: Path) -> None:
    spec = DataSpec.model_validate({"dataset": "folder", "root": odd, "val_fraction": 0.2})
    index = apply_spec(load_index(spec), spec)
    record = json.loads(json_text(split_record(index)))
    again = apply_record(load_index(spec), record)
    assert [split.files for split in again.splits().values()] == [split.files for split in index.splits().values()]


def test_eval_writes_tables_that_hold_every_name(run: RunFolder, command: Callable[..., Answer]) -> None:
    assert command("eval", run.path).code == 0
    rows = (run.path / "eval" / "test-predictions.csv").read_bytes().decode("utf-8", "surrogateescape")
    named = [row["image"] for row in csv.DictReader(io.StringIO(rows, newline=""))]
    assert sorted(named) == sorted(json.loads((run.path / "splits.json").read_bytes())["splits"]["test"])


def test_report_shows_the_pictures(run: RunFolder, command: Callable[..., Answer]) -> None:
    answer = command("report", run.path, "--force")
    assert answer.code == 0
    page = (run.path / "report.html").read_text(encoding="utf-8", errors="surrogateescape")
    assert "No pictures" not in page
    assert "data:image/webp" in page


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_predict_names_each_image(
    run: RunFolder, odd: Path, tmp_path: Path, form: str, command: Callable[..., Answer]
) -> None:
    answer = command("predict", odd, "--run", run.path, "--format", form, "-o", tmp_path / "answers.txt")
    assert answer.code == 0
    text = (tmp_path / "answers.txt").read_text(encoding="utf-8")
    if form == "json":
        names = {Path(json.loads(line)["image"]).name for line in text.splitlines()}
        assert names == set(FILES)
    elif form == "csv":
        assert len(list(csv.DictReader(io.StringIO(text, newline="")))) == len(FILES) * len(CLASSES)
    assert "\x1b" not in text or form == "csv"


def test_viz_draws_them(run: RunFolder, odd: Path, tmp_path: Path, command: Callable[..., Answer]) -> None:
    places = [odd / CLASSES[0] / file for file in FILES]
    assert command("viz", "cam", "--run", run.path, *places, "--out", tmp_path / "cams").code == 0
    told = json.loads((tmp_path / "cams" / "manifest.json").read_bytes())["pictures"]
    assert len(told) == len(FILES)
    assert command("viz", "all", "--run", run.path, places[0], "--out", tmp_path / "all").code == 0


@pytest.mark.parametrize("plot", ["curves", "confusion", "embedding"])
def test_plots_of_a_run(run: RunFolder, plot: str, tmp_path: Path, command: Callable[..., Answer]) -> None:
    assert command("viz", plot, run.path, "--out", tmp_path / "plot.png", "--force").code == 0


def test_a_run_goes_on(run: RunFolder, command: Callable[..., Answer]) -> None:
    assert command("train", "--resume", run.path, "--quiet").code in (0, 2)


# ---- what cannot be held is refused before anything is made


def test_a_class_that_is_no_text_is_refused(tmp_path: Path, command: Callable[..., Answer]) -> None:
    for name in ("a", os.fsdecode(b"caf\xe9")):
        try:
            noise_jpeg(tmp_path / "data" / name / "1.jpg")
            noise_jpeg(tmp_path / "data" / name / "2.jpg")
        except OSError:
            pytest.skip("this file system holds only names that are text")
    answer = command("train", "--dataset", "folder", "--data-dir", tmp_path / "data", "--out", tmp_path / "run")
    *notes, error = answer.err.splitlines()
    assert answer.code == 2
    assert r"the class name 'caf\udce9' is not UTF-8" in error
    assert all(note.startswith("note: ") for note in notes)
    assert not (tmp_path / "run").exists()


LONG = "x" * 256


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--dataset", "folder", "--data-dir", LONG),
        ("train", "--dataset", "demo", "--out", LONG),
        ("train", "--config", LONG),
        ("train", "--resume", LONG),
        ("train", "--weights", LONG),
        ("eval", "y/" * 3000),
        ("report", LONG),
        ("predict", "photo.jpg", "--output", "x" * 250),
        ("viz", "curves", LONG),
        ("runs", LONG),
        ("download-data", "cub", "--from-archive", LONG, "--root", "data"),
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_a_name_that_is_too_long_is_one_line(
    tmp_path: Path, words: tuple[str, ...], command: Callable[..., Answer]
) -> None:
    noise_jpeg(tmp_path / "photo.jpg")
    answer = command(*words)
    assert answer.code == 2
    assert answer.err.splitlines()[-1].endswith(": File name too long")
    assert "Error" not in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_json_and_tables_keep_the_bytes_of_a_name(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [LATIN])
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == [LATIN]
    write_text(tmp_path / "a.csv", LATIN)
    assert (tmp_path / "a.csv").read_bytes() == b"caf\xe9.png"
