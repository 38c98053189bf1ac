"""A finished run is measured on new labelled photos: all of them, with their classes matched by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fgvc_cli.errors import BadRequest
from fgvc_cli.evaluation.confusion import read_classes
from fgvc_cli.evaluation.evaluate import evaluate_run
from fgvc_cli.evaluation.predictions import read_predictions
from fgvc_cli.inference.look import open_model
from fgvc_cli.inference.new_photos import named
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.report.page import write_report
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from fgvc_cli.viz.draw import VizRequest, draw_pictures
from fgvc_cli.viz.selection import Selection
from tests.conftest import small_spec, untrained
from tests.making import mk, noise_jpeg

QUIET = Console(quiet=True)
CLASSES = ("finch", "robin", "wren")


def trained(data: Path, out: Path, *sets: str) -> RunFolder:
    train(small_spec(data, "baseline", "train.epochs=1", *sets), out, QUIET)
    return RunFolder(out)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on one folder, whose test split fgvc drew."""
    home = tmp_path_factory.mktemp("drawn")
    mk(home / "a", *(f"{name}=6" for name in CLASSES))
    return trained(home / "a", home / "run")


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on train/ and test/."""
    home = tmp_path_factory.mktemp("divided")
    for split, count in (("train", 6), ("test", 3)):
        mk(home / "a" / split, *(f"{name}={count}" for name in CLASSES))
    return trained(home / "a", home / "run")


@pytest.fixture(params=["drawn", "divided"])
def run(request: pytest.FixtureRequest) -> Iterator[RunFolder]:
    """One of the runs; what a test adds to its eval/ is removed afterwards."""
    found: RunFolder = request.getfixturevalue(request.param)
    before = set((found.path / "eval").iterdir())
    yield found
    for path in set((found.path / "eval").iterdir()) - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def measured(run: RunFolder, new: Path, **more: Any) -> dict[str, Any]:
    own = (run.path / "eval/test.json").read_bytes()
    result = evaluate_run(run, EvalRequest(root=new, **more), QUIET)
    assert (run.path / "eval/test.json").read_bytes() == own
    name = result["split"]
    assert json.loads((run.path / f"eval/{name}.json").read_text()) == result
    rows = read_classes(run.path / f"eval/{name}-classes.csv")
    assert tuple(row["class"] for row in rows) == CLASSES
    return result | {"support": [row["images"] for row in rows]}


def plain(new: Path) -> None:
    mk(new, "finch=6", "robin=6", "wren=6")  # names as the run's own, other photos


def only_test(new: Path) -> None:
    mk(new / "test", "finch=6", "robin=6", "wren=6")


def all_splits(new: Path) -> None:
    for split, count in (("train", 3), ("Validation", 1), ("test_set", 2)):
        mk(new / split, *(f"{name}={count}" for name in CLASSES))


def spelt_otherwise(new: Path) -> None:
    mk(new, "Finch=6", "robin =4", "ROBIN=2", "wren\u200b=6")


@pytest.mark.parametrize("layout", [plain, only_test, all_splits, spelt_otherwise])
def test_all_of_a_folder_is_measured(run: RunFolder, layout: Callable[[Path], None], tmp_path: Path) -> None:
    layout(tmp_path / "field")
    result = measured(run, tmp_path / "field")
    assert (result["split"], result["images"], result["support"]) == ("field", 18, [6, 6, 6])
    assert result["data"] == str((tmp_path / "field").resolve())
    assert "ece" in result["calibration"]


def test_the_predictions_are_of_the_class_that_the_folder_names(drawn: RunFolder, tmp_path: Path) -> None:
    mk(tmp_path / "labels", "wren=2", "robin=3")
    measured(drawn, tmp_path / "labels")
    rows = read_predictions(drawn.path / "eval/labels-predictions.csv")
    assert [(row.image, row.true) for row in rows] == [
        *((f"robin/{i}.jpg", "robin") for i in range(3)),
        *((f"wren/{i}.jpg", "wren") for i in range(2)),
    ]


def test_absent_classes_are_allowed(run: RunFolder, tmp_path: Path) -> None:
    mk(tmp_path / "one", "robin=4", "wren=0")
    (tmp_path / "one" / "wren").mkdir()
    result = measured(run, tmp_path / "one")
    assert (result["images"], result["support"]) == (4, [0, 4, 0])


def test_unknown_classes_are_listed_or_left_out(run: RunFolder, tmp_path: Path) -> None:
    mk(tmp_path / "more", "robin=2", "hawk=3", "owl=1", "Wren=1", "test=1")
    words = r"does not know 3 of 5 classes: 'hawk' \(3 images\); 'owl' \(1 images\); 'test' .*--unknown-classes skip"
    with pytest.raises(BadRequest, match=words):
        measured(run, tmp_path / "more")
    result = measured(run, tmp_path / "more", unknown_classes="skip")
    assert (result["images"], result["support"]) == (3, [0, 2, 1])
    assert result["left_out"] == {"hawk": 3, "owl": 1, "test": 1}


def test_nothing_but_unknown_classes(drawn: RunFolder, tmp_path: Path) -> None:
    mk(tmp_path / "more", "hawk=3", "owl=1")
    with pytest.raises(BadRequest, match="knows none of its 2 classes: 'hawk'"):
        measured(drawn, tmp_path / "more", unknown_classes="skip")


def test_a_class_with_two_spellings_in_the_run_is_not_guessed(tmp_path: Path) -> None:
    mk(tmp_path / "a", "a=6", "A=6")
    run = trained(tmp_path / "a", tmp_path / "run")
    mk(tmp_path / "new", "A=2", "a=1")
    assert evaluate_run(run, EvalRequest(root=tmp_path / "new"), QUIET)["images"] == 3
    mk(tmp_path / "wide", "\uff21=2")
    with pytest.raises(BadRequest, match="does not know 1 of 1 classes"):
        evaluate_run(run, EvalRequest(root=tmp_path / "wide"), QUIET)


@pytest.mark.parametrize("column", [False, True])
def test_a_table(run: RunFolder, column: bool, tmp_path: Path) -> None:
    mk(tmp_path / "photos", "x=3")
    labels = ["Robin", "wren", "robin"]
    lines = ["path,label" + ",split,x1,y1,x2,y2" * column]
    lines += [f"photos/x/{i}.jpg,{label}" + ",test,1,2,60,50" * column for i, label in enumerate(labels)]
    (tmp_path / "field.csv").write_text("\n".join(lines))
    result = measured(run, tmp_path / "field.csv")
    assert (result["split"], result["images"], result["support"]) == ("field", 3, [0, 2, 1])
    boxes = result.get("localisation", {}).get("boxes", {})
    assert "mean training box" not in boxes
    assert ("whole image" in boxes) == column


def test_a_split_of_the_new_photos(divided: RunFolder, tmp_path: Path) -> None:
    all_splits(tmp_path / "parts")
    assert measured(divided, tmp_path / "parts", split="test", name="tests")["images"] == 6
    mk(tmp_path / "flat", "robin=1")
    with pytest.raises(BadRequest, match="has no val split; without --split all of it is measured"):
        measured(divided, tmp_path / "flat", split="val")


# ---- own or new


def test_the_runs_own_data_stay_its_own(run: RunFolder, tmp_path: Path) -> None:
    """In their place, copied, or moved."""
    own = run.spec().data.root
    assert own is not None
    count = evaluate_run(run, EvalRequest(), QUIET)["images"]
    for place in (own, shutil.copytree(own, tmp_path / "copy")):
        result = evaluate_run(run, EvalRequest(root=place), QUIET)
        assert (result["split"], result["images"]) == ("test", count)
        assert "data" not in result
    own.rename(tmp_path / "away")
    try:
        assert named(run, EvalRequest(root=tmp_path / "away")).name == "test"
        mk(tmp_path / "others", "robin=1")
        assert named(run, EvalRequest(root=tmp_path / "others")).name == "others"
    finally:
        (tmp_path / "away").rename(own)


def test_a_part_of_the_runs_own_data_is_told(drawn: RunFolder, tmp_path: Path) -> None:
    """It may lack a class like other new photos, but the run has seen it."""
    own = drawn.spec().data.root
    assert own is not None
    shutil.copytree(own, tmp_path / "part", ignore=lambda folder, names: {"finch"} & set(names))
    images = open_model(drawn.path, EvalRequest(root=tmp_path / "part")).open_images(QUIET)
    assert len(images.split) == 12
    assert any(note.startswith("12 of the run's own images are among these photos") for note in images.index.notes)


def test_names_of_their_own(drawn: RunFolder, tmp_path: Path) -> None:
    mk(tmp_path / "test", "robin=1")
    mk(tmp_path / "site a", "robin=1")
    mk(tmp_path / "b" / "photos", "robin=1")
    mk(tmp_path / "c" / "photos", "robin=1")
    names = {place: named(drawn, EvalRequest(root=tmp_path / place)).name for place in ("test", "site a", "b/photos")}
    assert names["site a"] == "site-a"
    assert names["test"].endswith("-test")
    measured(drawn, tmp_path / "b" / "photos")
    with pytest.raises(BadRequest, match=r"eval/photos.json has the results of .*b/photos: give .* another --name"):
        measured(drawn, tmp_path / "c" / "photos")
    assert measured(drawn, tmp_path / "c" / "photos", name="c")["split"] == "c"
    assert named(drawn, EvalRequest(name="c")).new == named(drawn, EvalRequest(root=tmp_path / "c" / "photos")).new
    for name in ("test", "Val", "a/b", "..", ""):
        with pytest.raises(BadRequest, match="--name"):
            named(drawn, EvalRequest(root=tmp_path / "c" / "photos", name=name))
    with pytest.raises(BadRequest, match="has no results of that name: give --data-dir"):
        named(drawn, EvalRequest(name="nowhere"))
    with pytest.raises(BadRequest, match="holds the run's own data"):
        named(drawn, EvalRequest(root=drawn.spec().data.root, name="again"))


def test_what_is_no_photo_collection_is_one_line(drawn: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadRequest, match="empty: holds no images in class folders"):
        measured(drawn, tmp_path / "empty")
    mk(tmp_path / "bad", "robin=2")
    (tmp_path / "bad" / "robin" / "0.jpg").write_bytes(b"no image")
    with pytest.raises(BadRequest, match=r"1 of 2 images cannot be used.*replace or remove them"):
        measured(drawn, tmp_path / "bad")


def test_a_run_on_a_dataset_of_the_catalogue(tmp_path: Path) -> None:
    """Its classes are matched too; a folder without any of them is the folder of the datasets."""
    mk(tmp_path / "new", "robin=2")
    mk(tmp_path / "data", "CUB=1")
    run = RunFolder(tmp_path / "run")
    spec = small_spec(tmp_path).model_copy(deep=True)
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"dataset": "cub", "root": None})})
    run.create(spec)
    (run.path / "classes.json").write_text(json.dumps(CLASSES))
    untrained(spec, CLASSES, run.model_file)
    assert evaluate_run(run, EvalRequest(root=tmp_path / "new"), QUIET)["images"] == 2
    with pytest.raises(BadRequest, match="not found"):
        evaluate_run(run, EvalRequest(root=tmp_path / "data"), QUIET)


# ---- report and pictures


def test_report_and_pictures_are_kept_under_the_name(drawn: RunFolder, tmp_path: Path) -> None:
    mk(tmp_path / "trip", "robin=3", "wren=2")
    request = EvalRequest(root=tmp_path / "trip")
    written = write_report([drawn], None, request, QUIET, sample=2, force=False)
    assert written.file == drawn.path / "eval/trip-report.html"
    page = written.file.read_text()
    assert "5 trip images" in page
    assert "They are new photos" in page
    assert "trained on these same images" not in page
    assert not (drawn.path / "report.html").exists()
    drawing = VizRequest("cam", Selection(sample=2, labelled=True), drawn.path, settings=request)
    folders = draw_pictures(drawing, QUIET).folders
    assert folders == {drawn.path / "eval/trip-viz/cam": 2}
    pictures = sorted(path.name for path in (drawn.path / "eval/trip-viz/cam").glob("*.png"))
    assert [name.split("-")[0] for name in pictures] == ["trip", "trip"]
    assert not (drawn.path / "viz").exists()
    noise_jpeg(tmp_path / "trip" / "wren" / "more.jpg")  # the kept numbers are of other photos now
    again = write_report([drawn], None, request, QUIET, sample=0, force=True)
    assert "6 trip images" in again.file.read_text()


def test_what_the_model_is_shown(drawn: RunFolder, tmp_path: Path) -> None:
    mk(tmp_path / "shown", "wren=1", "finch=1")
    images = open_model(drawn.path, EvalRequest(root=tmp_path / "shown")).open_images(QUIET)
    assert images.index.classes == CLASSES
    assert images.split.labels.tolist() == [0, 2]
    assert images.split.files == ("finch/0.jpg", "wren/0.jpg")
