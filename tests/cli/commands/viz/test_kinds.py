"""`fgvc viz` as a user sees it: what is drawn, where it lies, what it says when it cannot."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_cli.files import write_json
from fgvc_cli.runs.folder import RunFolder
from tests.cli.conftest import Answer
from tests.conftest import small_spec, untrained

Command = Callable[..., Answer]
CLASSES = ("blue", "green", "red")
METHODS = {"apcnn": ("method.width=16",), "reaps": ("method.units=8",), "baseline": ()}


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with a run a method, as training leaves it but without the training; baseline's is the newest."""
    folder = tmp_path_factory.mktemp("work") / "runs"
    for age, (name, sets) in enumerate(METHODS.items()):
        spec = small_spec(photos, name, "data.resize=36", *sets)
        run = folder / f"{name}-photos"
        run.mkdir(parents=True)
        RunFolder(run).create(spec)
        write_json(run / "classes.json", CLASSES)
        untrained(spec, CLASSES, run / "model.safetensors")
        os.utime(run / "model.safetensors", (age, age))
    return folder


@pytest.fixture
def here(runs: Path, command: Command, tmp_path: Path) -> Command:
    """The command in a folder with those runs and some images."""
    shutil.copytree(runs, tmp_path / "runs")
    (tmp_path / "images").mkdir()
    for number, (height, width) in enumerate(((40, 30), (21, 77))):
        Image.new("RGB", (width, height), (90 * number, 60, 200)).save(tmp_path / "images" / f"bird{number}.png")
    return command


def manifest(folder: str | Path) -> list[dict]:
    return json.loads((Path(folder) / "manifest.json").read_text())["pictures"]


def test_one_image_just_works(here: Command) -> None:
    answer = here("viz", "rois", "images/bird0.png")
    assert answer.code == 0, answer.err
    assert "newest run with boxes: runs/reaps-photos" in answer.err
    assert answer.out == "1 picture in runs/reaps-photos/viz/rois/\n"
    with Image.open("runs/reaps-photos/viz/rois/bird0.png") as drawn:
        assert drawn.format == "PNG"
    (entry,) = manifest("runs/reaps-photos/viz/rois")
    assert (entry["file"], entry["kind"], entry["image"]) == ("bird0.png", "rois", "images/bird0.png")
    assert entry["predicted"] in CLASSES
    ((x1, y1, x2, y2),) = [box["box"] for box in entry["boxes"]["ran"]]
    assert 0 <= x1 < x2 <= 30
    assert 0 <= y1 < y2 <= 40


def test_nothing_is_overwritten_unless_forced(here: Command) -> None:
    assert here("viz", "rois", "images/bird0.png").code == 0
    file = Path("runs/reaps-photos/viz/rois/bird0.png")
    before = file.stat().st_mtime_ns
    again = here("viz", "rois", "images/bird0.png")
    assert again.code == 2
    assert again.err.splitlines()[-1] == f"fgvc: {file} already exists: --force replaces it, --out names a folder"
    assert file.stat().st_mtime_ns == before
    assert here("viz", "rois", "images/bird1.png").code == 0  # another image does not disturb it
    assert here("viz", "rois", "images/bird0.png", "--force").code == 0
    assert file.stat().st_mtime_ns > before
    assert [entry["file"] for entry in manifest(file.parent)] == ["bird0.png", "bird1.png"]


def test_all_draws_every_kind_that_there_is_evidence_of(here: Command) -> None:
    answer = here("viz", "all", "images", "--run", "runs/apcnn-photos", "--out", "pictures", "--dpi", 60)
    assert answer.code == 0, answer.err
    kinds = sorted(folder.name for folder in Path("pictures").iterdir())
    assert kinds == ["attention", "cam", "parts", "rois", "versus"]
    for kind in kinds:
        names = sorted(file.name for file in Path("pictures", kind).iterdir())
        assert names == ["001-bird0.png", "002-bird1.png", "manifest.json"]
    assert manifest("pictures/cam")[0]["map"] == "Grad-CAM"
    sequence = here("viz", "all", "images/bird0.png", "--run", "runs/reaps-photos", "--out", "reaps", "--dpi", 60)
    assert sequence.code == 0, sequence.err
    assert (Path("reaps") / "sequence" / "bird0.png").is_file()


def test_bad_images_are_told_and_the_others_drawn(here: Command) -> None:
    Path("images/b.jpg").write_bytes(b"\xff\xd8 no picture")
    Image.new("L", (9, 9), 77).save("images/grey.png")
    Image.new("RGB", (1, 1)).save("images/one.png")
    answer = here("viz", "cam", "images", "--run", "runs/baseline-photos", "--out", "o", "--dpi", 50)
    assert answer.code == 1
    assert "skipped: images/b.jpg" in answer.err
    assert answer.err.splitlines()[-1] == "fgvc: 1 of 5 images could not be read; the others are drawn"
    assert answer.out == "4 pictures in o/\n"
    assert len(list(Path("o").glob("*.png"))) == len(manifest("o")) == 4
    alone = here("viz", "cam", "images/b.jpg", "--out", "none")
    assert alone.code == 1
    assert "nothing is drawn" in alone.err
    assert alone.out == ""
    assert not Path("none").exists()


def test_a_split_its_right_and_its_wrong_ones(here: Command) -> None:
    """Whatever an untrained network answers, right and wrong together are all nine test images."""
    shared = ("viz", "cam", "--dataset", "folder", "--run", "runs/baseline-photos", "--dpi", 50)
    for only in ("right", "wrong"):
        answer = here(*shared, "--only", only, "--out", only)
        assert answer.code == 0, answer.err
        assert {entry["right"] for entry in manifest(only)} == {only == "right"}
    names = [entry["file"] for only in ("right", "wrong") for entry in manifest(only)]
    assert len(set(names)) == 9
    assert here(*shared, "--sample", 3, "--out", "some").code == 0
    assert sorted(entry["true"] for entry in manifest("some")) == list(CLASSES)  # spread over the classes
    assert manifest("some")[0]["file"].startswith("test-0000")


def test_a_gallery_is_one_sheet(here: Command) -> None:
    shared = ("viz", "rois", "images", "--run", "runs/reaps-photos", "--gallery", "--dpi", 50, "--out", "o")
    answer = here(*shared)
    assert answer.out == "1 picture in o/\n"
    with Image.open("o/gallery-001.png") as drawn:
        width = drawn.width
    assert width > 2 * 50 * 2.3  # side by side
    (entry,) = manifest("o")
    assert [picture["image"] for picture in entry["pictures"]] == ["images/bird0.png", "images/bird1.png"]
    assert here(*shared).code == 2
    assert here(*shared, "--force").code == 0


def test_two_runs_side_by_side(here: Command) -> None:
    pair = ("--compare", "runs/reaps-photos", "runs/apcnn-photos")
    answer = here("viz", "rois", "images/bird0.png", *pair, "--dpi", 50)
    assert answer.code == 0, answer.err
    folder = Path("runs/reaps-photos/viz/rois-beside-apcnn-photos")
    (entry,) = manifest(folder)
    assert list(entry["runs"]) == ["reaps-photos", "apcnn-photos"]
    with Image.open(folder / "bird0.png") as drawn:
        assert drawn.width > 2 * 1.35 * 2.3 * 50 * 0.85
    both = here("viz", "all", "images/bird0.png", *pair, "--dpi", 50, "--out", "o")
    assert both.code == 0, both.err
    assert sorted(path.name for path in Path("o").iterdir()) == ["attention", "cam", "parts", "rois", "versus"]
    lacking = here("viz", "rois", "images", "--compare", "runs/reaps-photos", "runs/baseline-photos")
    assert lacking.code == 2
    assert (
        "baseline-photos (method baseline) has no boxes; methods that have them: reaps, apcnn, scapnet" in lacking.err
    )


def test_versus_takes_two_classes(here: Command) -> None:
    answer = here("viz", "versus", "images/bird0.png", "--class", "Red", "--against", "blue", "--out", "o")
    assert answer.code == 0, answer.err
    (entry,) = manifest("o")
    assert (entry["class"], entry["against"]) == ("red", "blue")
    same = here("viz", "versus", "images/bird0.png", "--class", "red", "--against", "red")
    assert (same.code, "both red" in same.err) == (2, True)


def test_a_list_on_stdin_and_a_model_that_lies_alone(here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy("runs/reaps-photos/model.safetensors", "finches.safetensors")
    monkeypatch.setattr("sys.stdin", io.StringIO("images/bird1.png\nimages/bird0.png\n"))
    answer = here("viz", "rois", "-", "--run", "finches.safetensors")
    assert answer.code == 0, answer.err
    assert [entry["file"] for entry in manifest("viz/rois")] == ["001-bird1.png", "002-bird0.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rois", "nowhere.jpg"), "there is no such file or folder"),
        (("rois", "empty"), "no image in this folder"),
        (("rois",), "no images given"),
        (("rois", "images", "--run", "nowhere"), "there is no run at nowhere"),
        (("rois", "images", "--run", "runs/baseline-photos"), "has no boxes; methods that have them: reaps"),
        (
            ("relations", "images"),
            "has relations among parts: train one",
        ),
        (("cam", "images", "--class", "gren"), "--class gren: no such class; near: 'green'"),
        (("cam", "images", "--class", "42"), "--class 42: no such class; the first are blue, green, red"),
        (("rois", "images", "--class", "green"), "does not depend on a class"),
        (("cam", "images", "--only", "wrong"), "--only needs the true classes"),
        (("cam", "--split", "test", "--only", "bad"), "give right or wrong"),
        (("cam", "--split", "val"), "has no val split"),
        (("cam", "images", "--truth"), "--truth needs a split"),
        (("cam", "--split", "test", "--truth"), "this dataset has no true boxes"),
        (("cam", "images", "--dataset", "folder"), "either images or --dataset"),
        (("cam", "--dataset", "fishes"), "--dataset fishes: choose one of demo, cub"),
        (("cam", "--dataset", "cub"), "no CUB_200_2011 in data"),
        (("cam", "--split", "test", "--sample", 0), "at least 1"),
        (("cam", "images", "--alpha", 2), "--alpha"),
        (("cam", "images", "--out", "images/bird0.png"), "is a file: name a folder"),
        (("cam", "images", "--dpi", 5), "--dpi"),
        (("cam", "images", "--device", "cuda:77"), "cuda"),
        (("cam", "images", "--run", "runs/a", "--compare", "runs/a", "runs/b"), "either --run or --compare"),
    ],
)
def test_what_cannot_be_is_one_line(here: Command, arguments: tuple, words: str) -> None:
    Path("empty").mkdir()
    answer = here("viz", *arguments)
    assert answer.code == 2, answer.err
    assert answer.out == ""
    assert words in answer.err.splitlines()[-1]
    assert answer.err.splitlines()[-1].startswith("fgvc: ")
    assert not list(Path("runs").rglob("viz"))


def test_without_any_run(command: Command, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    answer = command("viz", "rois", "a.png")
    assert answer.code == 2
    assert answer.err.startswith("fgvc: no trained run under runs/ has boxes: train one, for example with `fgvc train")
    assert len(answer.err.splitlines()) == 1


def test_a_stopped_drawing_leaves_a_manifest_of_what_is_there(here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from fgvc_cli.viz import sheet

    written = sheet.Sheet.write

    def stop_at_the_second(self: sheet.Sheet, path: Path) -> None:
        if path.name.startswith("002"):
            raise KeyboardInterrupt
        written(self, path)

    monkeypatch.setattr(sheet.Sheet, "write", stop_at_the_second)
    answer = here("viz", "rois", "images", "--out", "o", "--dpi", 50)
    assert answer.code == 130
    assert answer.err.endswith("fgvc: interrupted\n")
    assert [entry["file"] for entry in manifest("o")] == ["001-bird0.png"]
    assert sorted(path.name for path in Path("o").iterdir()) == ["001-bird0.png", "manifest.json"]


def test_a_manifest_that_is_none(here: Command) -> None:
    Path("o").mkdir()
    Path("o/manifest.json").write_text("{")
    refused = here("viz", "rois", "images/bird0.png", "--out", "o")
    assert refused.code == 2
    assert "cannot read o/manifest.json: " in refused.err
    assert here("viz", "rois", "images/bird0.png", "--out", "o", "--force").code == 0
    assert len(manifest("o")) == 1


def test_an_image_is_drawn_in_its_own_pixels(here: Command) -> None:
    """A red square of an image of 77 x 21 pixels is where the box says, not squeezed as the network sees it."""
    pixels = np.full((21, 77, 3), 90, np.uint8)
    pixels[5:15, 40:60] = (255, 0, 0)
    Image.fromarray(pixels).save("images/wide.png")
    assert here("viz", "rois", "images/wide.png", "--out", "o", "--dpi", 100).code == 0
    with Image.open("o/wide.png") as drawn:
        page = np.asarray(drawn.convert("RGB"))
    red = np.argwhere((page[..., 0] > 200) & (page[..., 1] < 60) & (page[..., 2] < 60))
    (top, left), (bottom, right) = red.min(0), red.max(0) + 1
    assert (right - left) / (bottom - top) == pytest.approx(2, rel=0.1)
