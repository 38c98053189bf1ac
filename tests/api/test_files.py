"""What a program has written of a model: answers, vectors, pictures, plots; and its page."""

from __future__ import annotations

import csv
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3
from PIL import Image

import fgvc_cli as fgvc


@pytest.fixture(autouse=True)
def _kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(reaps: Path) -> fgvc.Model:
    return fgvc.load(reaps)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "cut.png").write_bytes(b"x")
    return tmp_path / "cut.png"


def test_answers(
    model: fgvc.Model, photos: Path, bad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [*fgvc.images(photos / "test"), bad]
    counts = model.save_predictions(tmp_path / "a.csv", found, top=2, progress=False)
    assert capsys.readouterr().out == ""
    assert (counts.predicted, counts.failed) == (9, 1)
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [row["image"] for row in rows] == list(map(str, found))
    answers = model.predict(found[:-1], top=2)
    assert [row["class_1"] for row in rows[:-1]] == [answer.text for answer in answers]
    assert model.save_predictions(tmp_path / "a.jsonl", photos / "test/red/0.png", progress=False).predicted == 1
    for asked, complaint in (
        ({"format": "xml"}, "--format xml: choose table, json, csv or parquet"),
        ({"output": tmp_path / "a.png"}, "this is the name of an image"),
        ({"tops": 1}, "tops is no flag of predict"),
    ):
        flags: dict[str, Any] = {"output": tmp_path / "b.csv", "images": found, "progress": False}
        with pytest.raises(fgvc.BadRequest, match=complaint):
            model.save_predictions(**flags | asked)


def test_vectors(model: fgvc.Model, photos: Path, bad: Path, tmp_path: Path) -> None:
    found = [*fgvc.images(photos / "test"), bad]
    written = model.save_embeddings(tmp_path / "v.npz", found, branches=True, progress=False)
    assert (written.images, len(written.failed)) == (9, 1)
    assert "is not a readable image" in written.failed[0]
    kept = np.load(tmp_path / "v.npz")
    assert {name: kept[name].shape[1] for name in written.widths} == written.widths
    parts = model.embed(found[:2], branches=True)
    assert list(parts) == list(written.widths)
    assert np.allclose(parts["embedding"], kept["embedding"][:2], atol=1e-5)
    one = model.embed(found[0], branches=True)
    assert one["embedding"].shape == (written.widths["embedding"],)
    with pytest.raises(fgvc.BadRequest, match="must end in"):
        model.save_embeddings(tmp_path / "v.txt", found)


def test_sheets_and_lists(model: fgvc.Model, photos: Path, bad: Path, tmp_path: Path) -> None:
    image = photos / "test/red/0.png"
    near = model.similar(image, photos / "train", 2, sheet=tmp_path / "near.png")
    assert len(near[0]) == 2
    chosen = model.suggest(
        [image, photos / "test/blue/0.png", bad],
        2,
        output=tmp_path / "list.csv",
        sheet=tmp_path / "sheet.png",
        skip_bad=True,
    )
    assert [row["image"] for row in csv.DictReader((tmp_path / "list.csv").open())] == [
        one.picture.name for one in chosen
    ]
    for sheet in ("near.png", "sheet.png"):
        with Image.open(tmp_path / sheet) as picture:
            assert min(picture.size) > 100
    with pytest.raises(fgvc.BadRequest, match="exists: --force replaces it"):
        model.suggest([image], output=tmp_path / "list.csv")
    with pytest.raises(fgvc.FgvcError, match=r"cut\.png"):
        model.suggest([image, bad])
    for call in (lambda: model.suggest([image], 0), lambda: model.similar(image, count=0)):
        with pytest.raises(fgvc.BadRequest, match="--count 0: give at least 1"):
            call()


def test_pictures_of_many_images(model: fgvc.Model, reaps: Path, photos: Path, tmp_path: Path) -> None:
    image = photos / "test/red/0.png"
    drawn = model.draw("cam", image, out=tmp_path / "cam", progress=False)
    assert (drawn.folders, drawn.asked, drawn.bad) == ({tmp_path / "cam": 1}, 1, ())
    run = fgvc.Run(reaps)
    both = run.draw("cam", [image], compare=reaps, gallery=True, out=tmp_path / "two", progress=False)
    assert both.folders == {tmp_path / "two": 1}
    some = run.draw("all", split="test", sample=2, out=tmp_path / "all", progress=False)
    assert set(some.folders.values()) == {2}
    for kind, asked, complaint in (
        ("came", {}, "there is no kind 'came': choose"),
        ("cam", {"gallry": True}, "gallry is no flag of draw: did you mean gallery"),
        ("cam", {"split": "test"}, "give either images or"),
        ("cam", {"alpha": 2}, "--alpha: give a number"),
    ):
        with pytest.raises(fgvc.BadRequest, match=complaint):
            run.draw(kind, image, progress=False, **asked)  # type: ignore[arg-type]
    with pytest.raises(fgvc.BadRequest, match="no images given"):
        run.draw("cam", progress=False)


def test_plots_of_a_run(trained: fgvc.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curves = trained.draw_curves(tmp_path / "curves.png", beside=[trained], progress=False)
    matrix = trained.draw_confusion(tmp_path, progress=False)
    points = trained.draw_embedding(tmp_path, split="test", sample=6, progress=False)
    assert (curves.name, matrix.name, points.name) == ("curves.png", "confusion-test.png", "embedding-test-pca.png")
    assert all(file.is_file() for file in (curves, matrix, points))
    assert capsys.readouterr() == ("", "")
    for call, complaint in (
        (lambda: trained.draw_curves(curves), "exists: replace it with --force"),
        (lambda: trained.draw_confusion(tmp_path, dpi=5), "--dpi 5: give a number from 30 to 1200"),
        (lambda: trained.draw_confusion(tmp_path, splt="val"), "splt is no flag of draw_confusion"),
        (lambda: trained.draw_embedding(tmp_path, sample=2), "--sample 2: give at least 3"),
        (lambda: trained.draw_embedding(tmp_path, projection="x"), "projection"),
    ):
        with pytest.raises(fgvc.BadRequest, match=complaint):
            call()


def test_the_page(model: fgvc.Model, photos: Path, tmp_path: Path) -> None:
    stop, addresses, kept = threading.Event(), list[str](), list[Path | None]()
    ready = threading.Event()

    def told(address: str) -> None:
        addresses.append(address)
        ready.set()

    flags: dict[str, Any] = {"port": 0, "neighbours": 0, "corrections": tmp_path / "kept", "progress": False}
    thread = threading.Thread(target=lambda: kept.append(model.serve(ready=told, stop=stop, **flags)), daemon=True)
    thread.start()
    assert ready.wait(20)
    photo = (photos / "test/red/0.png").read_bytes()
    answer = urllib3.request("POST", f"{addresses[0]}api/images", body=photo, retries=False).json()
    correction = f"{addresses[0]}api/images/{answer['id']}/correction"
    urllib3.request("PUT", correction, json={"class": "red"}, retries=False)
    stop.set()
    thread.join(20)
    assert kept == [tmp_path / "kept/corrections.csv"]


def test_a_page_that_cannot_be(reaps: Path) -> None:
    run = fgvc.Run(reaps)
    for flags, complaint in (
        ({"port": 70000}, "--port 70000: give a number from 0 to 65535"),
        ({"min_confidence": 2}, "--min-confidence 2: give a share from 0 to 1"),
        ({"hosts": "x"}, "hosts is no flag of serve: did you mean host"),
        ({"host": "no.such.host.invalid", "port": 0}, "this machine has no such address"),
    ):
        with pytest.raises(fgvc.BadRequest, match=complaint):
            run.serve(progress=False, **flags)


def test_a_model_file_is_exported_as_its_run_is(model: fgvc.Model, photos: Path, tmp_path: Path) -> None:
    written = model.export(tmp_path / "x.safetensors", format="safetensors", images=[photos], progress=False)
    assert written.file == tmp_path / "x.safetensors"
    assert fgvc.load(written.file).classes == model.classes


def test_what_an_exported_file_answers_and_what_needs_the_run(trained: fgvc.Run, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    file = trained.export(tmp_path / "x.onnx", images=[photos], progress=False).file
    model = fgvc.load(file)
    assert (model.method, model.folder, model.run) == ("baseline", tmp_path, None)
    counts = model.save_predictions(tmp_path / "a.csv", fgvc.images(photos / "test"), progress=False)
    assert counts.predicted == 9
    image = photos / "test/red/0.png"
    for call in (
        lambda: model.embed(image, branches=True),
        lambda: model.save_embeddings("v.npz", image),
        lambda: model.similar(image),
        lambda: model.suggest([image]),
        lambda: model.draw("cam", image),
        lambda: model.explain(image),
        model.export,
        model.serve,
    ):
        with pytest.raises(fgvc.BadRequest, match=r"x\.onnx is an exported file: load the run "):
            call()
