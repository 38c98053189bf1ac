"""The page as text; that a browser makes something of it test_browser sees."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.evaluation.confusion import Confusion
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.report.embedded import data_uri, webp
from fgvc_cli.report.gallery import Card, Gallery
from fgvc_cli.report.page import Written, render, write_report
from fgvc_cli.report.record import Measured, Record
from fgvc_cli.report.view import MOST_ROWS, run_view
from fgvc_cli.runs.folder import RunFolder
from tests.report.conftest import IMAGE, QUIET, SCRIPT
from tests.report.test_record import hidden, spoil


def report(*runs: Path, out: Path | None = None, sample: int = 0, force: bool = False, split: str = "test") -> Written:
    folders = [RunFolder(run) for run in runs]
    return write_report(folders, out, EvalRequest(split), QUIET, sample=sample, force=force)


class Page(HTMLParser):
    """What a browser would read."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.skipping = 0
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.skipping += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.skipping -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self.skipping:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All that is to be read, spaces as one."""
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def page(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(report(trained, out=tmp_path_factory.mktemp("page") / "report.html", sample=48).file)


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    addresses = [
        (value or "")
        for _, attributes in page.tags
        for key, value in attributes.items()
        if key in ("src", "href", "srcset", "action", "data", "poster")
    ]
    assert len(addresses) > 20
    assert all(address.startswith(("#", "data:")) for address in addresses)
    identities = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {address[1:] for address in addresses if address.startswith("#")} <= identities


def test_names_are_text_and_nothing_else(page: Page) -> None:
    assert SCRIPT in page.text
    assert IMAGE in page.text
    handlers = [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert handlers == []
    scripts = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    assert scripts.count(None) == 1
    assert set(scripts) == {None, "application/json"}
    assert page.count("h1") == page.count("main") == page.count("footer") == 1


def test_the_numbers_are_those_of_the_run(trained: Path, page: Page, record_of: Callable[..., Record]) -> None:
    measured = record_of(trained).measured
    assert measured is not None
    for branch, measures in measured.result["branches"].items():
        assert branch in page.text
        for value in measures.values():
            assert f"{100 * value:.1f} %" in page.text.replace("\u00a0", " ")
    for words in (
        "9 test images of 3 classes",
        "33.3",
        "the best top-1 on the validation split",
        "calibrated , at temperature",
    ):
        assert words in page.text
    assert "These images have no true boxes" in page.text
    assert "Chosen from all 9 test images" in page.text


def test_a_run_without_a_held_out_part_says_so(run: Path) -> None:
    for name in ("calibration.json", "splits.json"):
        (run / name).unlink()
    metrics = run / "metrics.csv"
    header, *rows = (line.split(",") for line in metrics.read_text().splitlines())
    kept = [place for place, name in enumerate(header) if not name.startswith("val_")]
    metrics.write_text("\n".join(",".join(row[place] for place in kept) for row in [header, *rows]) + "\n")
    text = Page(report(run).file).text
    assert "no validation result was used to select it" in text
    assert "Validation: only the cross entropy" not in text


def test_the_held_out_part_is_not_called_a_test(run: Path) -> None:
    text = Page(report(run, split="val").file).text
    assert "6 val images" in text
    assert "selected and the temperature was fitted on these same images" in text
    assert "test images" not in text


def test_several_runs_beside_each_other(run: Path, trained: Path, tmp_path: Path) -> None:
    text = Page(report(run, trained, out=tmp_path / "both.html").file).text
    assert "2 runs compared" in text
    assert "All runs were evaluated on the same test images of the same 3 classes" in text
    assert trained.name in text


def test_nothing_is_written_over(run: Path, trained: Path, tmp_path: Path) -> None:
    assert report(run).file == run / "report.html"
    with pytest.raises(BadRequest, match="already exists: --force overwrites it"):
        report(run)
    assert report(run, force=True).size > 10_000
    with pytest.raises(BadRequest, match="is a folder"):
        report(run, out=tmp_path, force=True)
    with pytest.raises(BadRequest, match="needs a file name, for example -o"):
        report(run, trained)


def test_a_page_that_cannot_be_written_leaves_nothing(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FgvcError, match="cannot write"):
        report(run, out=tmp_path / "file" / "report.html")


def test_what_is_missing_the_page_says(run: Path) -> None:
    (run / "model.safetensors").unlink()
    (run / "metrics.csv").unlink()
    (run / "environment.json").unlink()
    text = Page(report(run).file).text
    for words in (
        "What is missing on this page, and why",
        "There are no numbers for the test split",
        "There are no curves",
        "There are no pictures",
        "The machine of this run is not recorded",
    ):
        assert words in text


def test_a_class_that_is_never_answered(run: Path) -> None:
    table = run / "eval" / "test-classes.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:-1], "blue,3,,0.0,0.0"]) + "\n")
    text = Page(report(run).file).text
    assert re.search(r"of the classes (is|are) never predicted: .*?blue\.", text)
    assert re.search(r"blue 3 never predicted 0\.0", text)


def test_the_page_tells_how_the_preset_was_changed(run: Path) -> None:
    text = Page(report(run).file).text
    assert "The run started from the preset reaps-folder" in text
    assert re.search(r"data\.val_fraction 0\.25 0\.0", text)


@pytest.mark.parametrize("damage", ["gone", "older", "matrix"])
def test_what_is_left_of_a_measurement_makes_a_page(run: Path, odd_photos: Path, damage: str) -> None:
    spoil(run, damage)
    with hidden(odd_photos):
        text = Page(report(run, sample=4).file).text
    assert "numbers are missing or not complete" in text
    assert ("There are no numbers" in text) == (damage == "gone")
    assert ("The table of classes is missing" in text) == (damage == "older")


def test_a_run_that_is_not_measured_is_compared_as_such(run: Path, trained: Path, tmp_path: Path) -> None:
    (run / "model.safetensors").unlink()
    text = Page(report(run, trained, out=tmp_path / "both.html").file).text
    assert "not measured" in text
    assert "These numbers are not of the same images" in text


def test_boxes_and_maps(run: Path) -> None:
    file = run / "eval" / "test.json"
    found = {
        "boxes": {"ran": {"mean_iou": 0.5125, "over_half": 0.25}, "whole image": {"mean_iou": 0.3, "over_half": 0.125}},
        "maps": {"ran": {"pointing": 0.75, "pointing_part": 0.5}},
        "parts": {"images": 9, "reach": 0.15, "random_point": 0.0625},
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | {"localisation": found}))
    text = Page(report(run).file).text.replace("\u00a0", " ")
    for words in ("ran 0.512 25.0 %", "whole image 0.300 12.5 %", "ran 75.0 % 50.0 %", "in the box 100.0 % 6.2 %"):
        assert words in text


def grown(record: Record, classes: int, images: int) -> Record:
    """The record with as many classes and images of a split."""
    dice = np.random.RandomState(0)
    names = tuple(f"{number:03}.A bird of quite some name {number}" for number in range(classes))
    labels = np.sort(dice.randint(0, classes, images))
    guesses = np.where(dice.rand(images) < 0.8, labels, dice.randint(0, classes, images))
    cells, count = np.unique(labels * classes + guesses, return_counts=True)
    confusion = Confusion(names, cells // classes, cells % classes, count)
    rows = [{"class": name, "images": 29, "precision": 0.8, "recall": 0.8, "f1": 0.8} for name in names]
    assert record.measured is not None
    result = record.measured.result | {"confusions": confusion.worst()}
    return replace(record, classes=names, measured=Measured(result, rows, confusion))


def test_a_run_of_200_classes_is_light(trained: Path, record_of: Callable[..., Record]) -> None:
    """As large as CUB: 5,794 images, 48 pictures and 24 of confusions, as detailed as photographs are."""
    dice = np.random.RandomState(0)
    rough = Image.fromarray(dice.randint(0, 255, (48, 64, 3)).astype(np.uint8)).resize((320, 240))
    grainy = (np.asarray(rough) * 0.9 + dice.normal(0, 4, (240, 320, 3))).clip(0, 255).astype(np.uint8)
    photo = data_uri(webp(Image.fromarray(grainy)))
    assert 12_000 < len(photo) < 40_000
    card = Card(
        "images/x.jpg", "a", "b", 0.5, 0.2, 2, photo, photo, 320, 240, "CAM of final", True, {"ran": "rgb(1, 2, 3)"}
    )
    record = grown(record_of(trained), 200, 5794)
    size = len(render([run_view(1, record, Gallery([card] * 72, [], 600, 100, 5794))]))
    assert 72 * 2 * len(photo) < size < 5_000_000


def test_many_classes_are_not_all_listed(trained: Path, record_of: Callable[..., Record]) -> None:
    page = render([run_view(1, grown(record_of(trained), 10_000, 20_000), None)])
    assert len(page) < 3_000_000
    assert page.count('<th scope="row">0') + page.count('<th scope="row">1') <= MOST_ROWS + 40
    assert "with the lowest F1 of 10000" in page
    assert "too large to show" in page
