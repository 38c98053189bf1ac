"""`fgvc embed`, `similar`, `enroll`, `predict --neighbours` and `viz neighbours` as their user sees them."""

from __future__ import annotations

import csv
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

Command = Callable[..., Answer]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("features") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(out.parent / "cache"))
        train(small_spec(photos, "probe", "method.head=prototype"), out, Console(file=io.StringIO()))
    return out


def test_embed_writes_what_can_be_read_and_says_what_cannot(command: Command, run: Path, photos, tmp_path) -> None:
    shutil.copytree(photos / "test", tmp_path / "mine")
    (tmp_path / "mine/blue/cut.png").write_bytes(b"x")
    done = command("embed", "mine", "--run", run, "--out", "v.npz")
    assert done.code == 1
    assert "mine/blue/cut.png: is not a readable image" in done.err
    assert "written: v.npz: 9 images; embedding 160 numbers each; 1 failed" in done.err
    assert np.load(tmp_path / "v.npz")["embedding"].shape == (9, 160)
    (tmp_path / "mine/blue/cut.png").unlink()
    done = command("embed", "mine", "--run", run, "--out", "v.csv", "--branches")
    assert done.code == 0
    assert "embedding 160, final 160 numbers each" in done.err
    assert command("embed", "mine", "--run", run, "--out", "v.txt").code == 2


def test_similar_as_a_table_as_json_and_as_a_picture(command: Command, run: Path, photos, tmp_path) -> None:
    image = photos / "test/red/0.png"
    done = command("similar", image, "--run", run, "-k", 3, "--sheet", "sheet.png")
    assert done.code == 0
    assert done.out.count("red") >= 3
    with Image.open(tmp_path / "sheet.png") as picture:
        assert min(picture.size) > 150
    (found,) = json.loads(command("similar", image, "--run", run, "-k", 2, "--json", "--among", photos / "train").out)
    assert found["image"] == str(image)
    assert [one["class"] for one in found["similar"]] == ["red", "red"]
    assert 0 <= found["similar"][0]["distance"] <= found["similar"][1]["distance"]
    assert command("similar", image, "--run", run, "--among", "nowhere").code == 2
    assert command("similar", "nothing.png", "--run", run).code == 2


def test_predict_names_the_training_images_that_are_most_like_it(command: Command, run: Path, photos) -> None:
    image = photos / "test/red/0.png"
    (line,) = command("predict", image, "--run", run, "--neighbours", 2, "--format", "json").out.splitlines()
    near = json.loads(line)["neighbours"]
    assert [one["class"] for one in near] == ["red", "red"]
    assert Path(near[0]["image"]).parent == photos / "train/red"
    rows = list(
        csv.DictReader(io.StringIO(command("predict", image, "--run", run, "--neighbours", 2, "--format", "csv").out))
    )
    assert (rows[0]["neighbour_1"], rows[0]["neighbour_2_class"]) == (near[0]["image"], "red")
    assert float(rows[0]["neighbour_1_distance"]) == pytest.approx(near[0]["distance"], abs=1e-5)
    table = command("predict", image, "--run", run, "--neighbours", 1).out
    assert "like red" in table
    assert "neighbours" not in command("predict", image, "--run", run, "--format", "json").out


def test_viz_neighbours_draws_beside_the_run(command: Command, run: Path, photos) -> None:
    image = photos / "test/red/0.png"
    assert command("viz", "neighbours", image, "--run", run, "-k", 2).code == 0
    assert (run / "viz/neighbours.png").is_file()
    again = command("viz", "neighbours", image, "--run", run)
    assert again.code == 2
    assert "--force" in again.err


def test_enroll_and_remove(command: Command, run: Path, photos, tmp_path) -> None:
    mine = Path(shutil.copytree(run, tmp_path / "run"))
    (tmp_path / "white").mkdir()
    Image.new("RGB", (40, 40), "white").save(tmp_path / "white/a.png")
    done = command("enroll", mine, "white", "--class", "White")
    assert done.code == 0
    assert "has learnt 1 images of 'White'; it knows 4 classes" in done.err
    answer = json.loads(command("predict", "white/a.png", "--run", mine, "--format", "json", "--top", 1).out)
    assert answer["answer"] == "White"
    assert command("report", mine).code == 0
    assert command("eval", mine).code == 0
    assert "it knows 3 classes" in command("enroll", mine, "--class", "White", "--remove").err
    for words in (["white"], ["--class", "x"], ["white", "--class", "x", "--remove"], ["no", "--class", "x"]):
        assert command("enroll", mine, *words).code == 2


def test_eval_measures_retrieval_where_features_are_kept(command: Command, run: Path) -> None:
    done = command("eval", run)
    assert "retrieval: recall@1 " in done.out
    assert "retrieval" not in command("eval", run, "--no-retrieval").out
