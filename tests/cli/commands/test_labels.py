"""`fgvc check-labels`, `suggest` and `train --label-fixes` as their user sees them."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fgvc_cli.inference.dataset import open_index
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.cli.conftest import Answer
from tests.conftest import small_spec

Command = Callable[..., Answer]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def mixed(photos: Path, tmp_path: Path) -> Path:
    """Photos of which one has the wrong label, and one a copy with another."""
    root = Path(shutil.copytree(photos, tmp_path / "mixed"))
    (root / "train/red/0.png").rename(root / "train/blue/wrong.png")
    shutil.copy(root / "train/green/1.png", root / "train/red/copy.png")
    return root


def listed(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "suspects.csv").read_text())))


def test_a_run_of_frozen_features_finds_wrong_labels_and_training_takes_the_corrections(
    command: Command, mixed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(small_spec(mixed, "probe"), run, Console(quiet=True))
    done = command("check-labels", run, "-n", 5)
    assert done.code == 0
    rows = listed(run / "labels")
    assert len(rows) == 5
    assert {rows[0]["image"], rows[1]["image"]} == {"train/green/1.png", "train/red/copy.png"}
    assert rows[0]["copy"] == rows[1]["image"]
    wrong = next(row for row in rows if row["image"] == "train/blue/wrong.png")
    assert (wrong["given"], wrong["suggested"], wrong["label"]) == ("blue", "red", "")
    with Image.open(run / "labels/suspects.png") as picture:
        assert min(picture.size) > 200
    assert "train/blue/wrong.png" in (run / "labels/index.html").read_text()
    again = command("check-labels", run)
    assert again.code == 2
    assert "--force" in again.err
    assert command("report", run).code == 0
    assert 'href="labels/index.html"' in (run / "report.html").read_text()

    fixes = tmp_path / "fixes.csv"
    fixes.write_text("image,label\ntrain/blue/wrong.png,red\ntrain/red/copy.png,-\n")
    fixed = RunFolder(tmp_path / "fixed")
    train(small_spec(mixed, "probe", f"data.label_fixes={fixes}"), fixed.path, Console(quiet=True))
    fixes.unlink()
    index = open_index(fixed, fixed.spec().data, Console(quiet=True))
    assert "train/red/copy.png" not in index.train.files
    assert index.classes[index.train.labels[index.train.files.index("train/blue/wrong.png")]] == "red"
    assert (mixed / "train/blue/wrong.png").is_file()


def test_a_dataset_without_a_run_and_trained_runs(command: Command, mixed: Path, tmp_path: Path) -> None:
    small = (
        "--set",
        "data.image_size=32",
        "--set",
        "data.resize=36",
        "--set",
        "backbone.weights=none",
        "--device",
        "cpu",
    )
    asked = ("check-labels", "--dataset", "folder", "--data-dir", mixed, "--backbone", "tiny", *small)
    found = json.loads(command(*asked, "--json", "-n", 3).out)
    assert len(found["suspects"]) == 3
    assert found["suspects"][0]["copy"] is not None
    assert isinstance(found["estimated"], int)
    run = tmp_path / "trained"
    train(small_spec(mixed, "reaps"), run, Console(quiet=True))
    done = command("check-labels", run, "--by", "neighbours", "--json", "-n", 100)
    assert {one["split"] for one in json.loads(done.out)["suspects"]} == {"test"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give a run, or --dataset"),
        (("--dataset", "folder", "x"), "not both"),
        (("nowhere",), "there is no run at"),
        (("--dataset", "folder", "--by", "luck"), "choose both, confident or neighbours"),
    ],
)
def test_bad_requests(command: Command, arguments, words) -> None:
    done = command("check-labels", *arguments)
    assert done.code == 2
    assert words in done.err


def test_suggest_lists_unsure_images_once_each(command: Command, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(small_spec(photos, "baseline"), run, Console(quiet=True))
    (tmp_path / "bad.png").write_bytes(b"x")
    done = command("suggest", run, photos / "test", tmp_path / "bad.png", "-n", 4, "--sheet", "s.png")
    assert done.code == 0
    assert "4 of 10 images to label" in done.out
    assert "bad.png" in done.err
    rows = list(csv.DictReader((tmp_path / "suggestions.csv").open()))
    assert len({row["image"] for row in rows}) == 4
    assert float(rows[0]["uncertainty"]) == max(float(row["uncertainty"]) for row in rows)
    assert (tmp_path / "s.png").is_file()
    assert command("suggest", run, photos / "test").code == 2
    assert len(json.loads(command("suggest", run, photos / "test", "--json").out)) == 9


def test_classes_of_one_image_cannot_be_judged(command: Command, tmp_path: Path) -> None:
    rows = ["path,label,split"]
    for number, name in enumerate(("a", "b", "c")):
        Image.new("RGB", (40, 40), (80 * number, 60, 20)).save(tmp_path / f"{name}.png")
        rows.append(f"{name}.png,{name},train")
    Image.new("RGB", (40, 40), (9, 9, 200)).save(tmp_path / "d.png")
    rows.append("d.png,a,test")
    (tmp_path / "one.csv").write_text("\n".join(rows) + "\n")
    small = ("--set", "data.image_size=32", "--set", "backbone.weights=none", "--set", "data.duplicates=off")
    done = command("check-labels", "--dataset", "csv", "--data-dir", "one.csv", "--backbone", "tiny", *small)
    assert done.code == 2
    assert "fewer than two classes have two images" in done.err
