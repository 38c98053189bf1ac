"""Unknown classes, wanted precision, prediction sets and taxa as their user sees them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.cli.conftest import Answer
from tests.conftest import small_spec

Command = Callable[..., Answer]
TREE = "class,warmth\nred,warm\norange,warm\nblue,cold\ncyan,cold\n"
COLOURS = {"red": (180, 0, 0), "orange": (180, 90, 0), "blue": (0, 0, 180), "cyan": (0, 140, 180), "grey": (90, 90, 90)}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five classes, told apart by colour, and a tree of four of them."""
    root = tmp_path_factory.mktemp("colours")
    dice = np.random.RandomState(0)
    for split, count in (("train", 16), ("test", 6)):
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = dice.randint(0, 70, (40, 36, 3)) + np.array(colour)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / split / name / f"{number}.png")
    (root.parent / f"{root.name}-tree.csv").write_text(TREE + "grey,dull\n")
    return root


@pytest.fixture(scope="module", params=["probe", "baseline"])
def run(colours: Path, tmp_path_factory: pytest.TempPathFactory, request) -> Path:
    out = tmp_path_factory.mktemp("certain") / "run"
    tree = colours.parent / f"{colours.name}-tree.csv"
    sets = ["data.val_fraction=0.5", "data.leave_out=grey", f"data.taxonomy={tree}", "train.epochs=8", "optim.lr=0.1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(out.parent / "cache"))
        train(small_spec(colours, request.param, *sets), out, Console(file=io.StringIO()))
    return out


def test_eval_measures_everything_and_the_report_shows_it(command: Command, run: Path, colours: Path) -> None:
    done = command(
        "eval",
        run,
        "--unknown",
        "left-out",
        "--target-precision",
        0.5,
        "--set-coverage",
        0.9,
        "--rollup",
        0.6,
        "--json",
    )
    assert done.code == 0
    found = json.loads(done.out)
    assert found["classes"] == 4
    assert set(found["unknown"]["scores"]) == {
        "probability",
        "max_logit",
        "energy",
        "neighbours",
        "mahalanobis",
        "combined",
    }
    assert found["unknown"]["images"] == 6
    assert (run / "unknown.safetensors").is_file()
    assert found["target"]["validation_images"] == 32
    assert found["sets"]["asked"] == 0.9
    assert set(found["taxonomy"]["accuracy"]) == {"warmth", "class"}
    assert found["taxonomy"]["accuracy"]["warmth"] >= found["taxonomy"]["accuracy"]["class"]
    assert found["taxonomy"]["rollup"]["asked"] == 0.6
    assert (run / "eval/test-selective.csv").is_file()
    text = command("eval", run, "--unknown", colours / "test/grey").out
    assert "accuracy of the surest images" in text
    assert "unknown images: 6 of" in text
    assert "answers by rollup" in text
    assert command("report", run).code == 0
    page = (run / "report.html").read_text()
    for words in ("Selective prediction", "Unknown classes", "Tree of the classes"):
        assert words in page


def test_predict_answers_by_the_rules(command: Command, run: Path, colours: Path) -> None:
    asked = ("predict", colours / "test/red/0.png", colours / "test/grey/0.png", "--run", run)
    rules = ("--rollup", 0.5, "--set-coverage", 0.9, "--unknown", "--target-precision", 0.4)
    lines = [json.loads(line) for line in command(*asked, *rules, "--format", "json").out.splitlines()]
    for line in lines:
        assert set(line["known"]) == {"known", "score", "threshold", "by"}
        assert line["known"]["known"] == (line["known"]["score"] >= line["known"]["threshold"])
        assert line["set"][0] == line["top"][0]["class"]
        assert line["taxon"]["level"] in ("warmth", "class")
        assert line["taxon"]["probability"] >= 0.5
        assert line["answer"] == ("unknown" if not line["known"]["known"] else line["taxon"]["name"])
    rows = list(csv.DictReader(io.StringIO(command(*asked, *rules, "--format", "csv").out)))
    assert rows[0]["set"].split(" | ") == lines[0]["set"]
    assert rows[0]["known"] == str(lines[0]["known"]["known"]).lower()
    assert rows[0]["taxon"] == lines[0]["taxon"]["name"]
    assert "set of" in command(*asked, *rules).out
    nothing = command(*asked, "--rollup", 1.0, "--format", "json")
    assert {json.loads(line)["answer"] for line in nothing.out.splitlines()} <= {"unsure", *COLOURS, "warm", "cold"}


def test_bad_requests(command: Command, run: Path, photos: Path, tmp_path) -> None:
    for arguments, words in (
        (
            ("eval", run, "--unknown", "nowhere"),
            "there is no folder nowhere, and among the classes that were left out there is no class 'nowhere'",
        ),
        (("eval", run, "--set-coverage", 0.99), "needs at least 99 validation images, and there are 32"),
        (
            (
                "predict",
                photos / "test/red/0.png",
                "--run",
                run / "model.safetensors",
                "--taxonomy",
                "x.csv",
                "--rollup",
                0.9,
            ),
            "x.csv",
        ),
    ):
        done = command(*arguments)
        assert done.code == 2
        assert words in done.err


def test_a_run_without_validation_split_says_how_to_get_one(command: Command, photos: Path, tmp_path) -> None:
    out = tmp_path / "plain"
    train(small_spec(photos, "baseline", "train.epochs=1"), out, Console(file=io.StringIO()))
    image = photos / "test/red/0.png"
    for arguments in (
        ("eval", out, "--target-precision", 0.9),
        ("eval", out, "--set-coverage", 0.9),
        ("eval", out, "--unknown", photos / "test"),
        ("predict", image, "--run", out, "--target-precision", 0.9),
        ("predict", image, "--run", out, "--unknown"),
    ):
        done = command(*arguments)
        assert done.code == 2
        assert "--val-fraction 0.1" in done.err
    done = command("predict", image, "--run", out, "--rollup", 0.9)
    assert done.code == 2
    assert "--taxonomy FILE" in done.err
    assert command("eval", out, "--unknown", "left-out").code == 2


def test_a_probe_without_validation_split_promises_by_folds_of_its_training_images(
    command: Command, photos: Path, tmp_path
) -> None:
    out = tmp_path / "plain"
    train(small_spec(photos, "probe"), out, Console(file=io.StringIO()))
    asked = ("--target-precision", 0.1, "--set-coverage", 0.9)
    done = command("eval", out, *asked)
    assert "(threshold by 24 training images by folds)" in done.out
    assert "hold the true class" in " ".join(done.out.split())
    done = command("predict", photos / "test/red/0.png", "--run", out, *asked)
    assert "answers on 24 training images by folds were right" in done.err
    done = command("eval", out, "--set-coverage", 0.99)
    assert done.code == 2
    assert "needs at least 99 training images by folds, and there are 24" in done.err
    assert command("report", out).code == 0
    assert "24 training images by folds ask for a probability" in (out / "report.html").read_text()


def test_levels_are_trained_and_classified(command: Command, colours: Path, tmp_path) -> None:
    tree = colours.parent / f"{colours.name}-tree.csv"
    spec = small_spec(colours, "baseline", f"data.taxonomy={tree}", "regularise.level_weights=[0.5]")
    train(spec, tmp_path / "levels", Console(file=io.StringIO()))
    assert "train_level_warmth" in (tmp_path / "levels/metrics.csv").read_text().splitlines()[0]
    result = train(
        small_spec(colours, "baseline", f"data.taxonomy={tree}", "data.level=warmth"),
        tmp_path / "warm",
        Console(quiet=True),
    )
    assert result["classes"] == 3
