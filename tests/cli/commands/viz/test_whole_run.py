"""`fgvc viz curves`, `confusion` and `embedding` as their user sees them."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.cli.conftest import Answer
from tests.conftest import small_spec
from tests.making import mk

Command = Callable[..., Answer]


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plots") / "run"
    train(small_spec(photos, "baseline", "train.epochs=1"), path, Console(file=io.StringIO()))
    return path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "runs/run")
    return tmp_path / "runs/run"


@pytest.mark.parametrize("kind", ["curves", "confusion", "embedding"])
def test_into_the_newest_runs_folder_once(command: Command, run: Path, kind: str) -> None:
    done = command("viz", kind)
    file = {"curves": "curves", "confusion": "confusion-test", "embedding": "embedding-test-pca"}[kind]
    picture = Path(f"runs/run/viz/{file}.png")
    assert (done.code, done.out.split()) == (0, [str(picture)])
    assert "newest run: runs/run" in done.err
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    again = command("viz", kind, run)
    assert again.code == 2
    assert again.err.splitlines() == [
        f"fgvc: {run}/viz/{file}.png exists: replace it with --force, or give another --out"
    ]
    assert command("viz", kind, run, "--force", "--dpi", 75).code == 0
    assert Image.open(picture).width < 0.6 * pixels.shape[1]
    assert [path.name for path in picture.parent.iterdir()] == [picture.name]


def test_several_runs_and_another_place(command: Command, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "other")
    assert command("viz", "curves", run, "other").out.split() == [f"{run}/viz/curves-of-2-runs.png"]
    assert command("viz", "curves", run, "--out", "a/b.png").out.split() == ["a/b.png"]
    assert command("viz", "curves", run, "--out", "folder").out.split() == ["folder/curves.png"]
    assert Path("a/b.png").stat().st_size > 5000


def test_confusion_is_measured_where_it_is_not_yet(command: Command, run: Path) -> None:
    """Not where it is; but where the measurement is gone, or was of another state of the weights."""
    kept = run / "eval/test.json"
    before = kept.stat().st_mtime_ns
    assert command("viz", "confusion", run).code == 0
    assert kept.stat().st_mtime_ns == before
    first = (run / "viz/confusion-test.png").read_bytes()
    shutil.rmtree(run / "eval")
    assert command("viz", "confusion", run, "--force").code == 0
    assert kept.exists()
    assert (run / "viz/confusion-test.png").read_bytes() == first
    result = json.loads(kept.read_text())
    kept.write_text(json.dumps(result | {"epoch": result["epoch"] + 1}))
    assert command("viz", "confusion", run, "--force").code == 0
    assert json.loads(kept.read_text())["epoch"] == result["epoch"]
    (run / "eval/test-confusion.csv").write_text("broken\n1")
    done = command("viz", "confusion", run, "--force")
    assert done.code == 1
    assert "cannot read" in done.err.splitlines()[-1]
    assert (run / "viz/confusion-test.png").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["curves"], "no trained run under runs/"),
        (["curves", "nowhere"], "there is no run at nowhere"),
        (["embedding", "{run}", "--split", "val"], "has no val split"),
        (["embedding", "{run}", "--projection", "umap"], "--projection umap: choose pca or tsne"),
        (["embedding", "{run}", "--sample", "1"], "Invalid value for '--sample'"),
        (["confusion", "{run}", "--dpi", "0"], "Invalid value for '--dpi'"),
        (["confusion", "{run}", "--split", "val"], "has no val split"),
    ],
)
def test_bad_requests(command: Command, trained: Path, tmp_path: Path, arguments: list[str], line: str) -> None:
    done = command("viz", *(word.format(run=trained) for word in arguments))
    assert (done.code, done.out) == (2, "")
    assert line in done.err.splitlines()[-1]
    assert not (trained / "viz").exists()


@pytest.mark.parametrize("kind", ["confusion", "embedding"])
def test_new_photos_have_pictures_of_their_own(command: Command, run: Path, kind: str) -> None:
    mk(Path("trip"), "red=2", "blue=2")
    done = command("viz", kind, run, "--data-dir", "trip")
    file = {"confusion": "confusion-trip", "embedding": "embedding-trip-pca"}[kind]
    assert (done.code, done.out.split()) == (0, [str(run / f"eval/trip-viz/{file}.png")])
    assert not (run / "viz").exists()
