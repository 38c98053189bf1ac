"""Files of embeddings."""

from __future__ import annotations

import csv
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fgvc_cli.csv_text import original
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.pictures import Picture, find_pictures
from fgvc_cli.methods import build_method
from fgvc_cli.predict import embeddings
from fgvc_cli.predict.embeddings import check_out, write_embeddings
from fgvc_cli.progress import Reporter
from fgvc_cli.terminal import Console
from tests.conftest import small_spec

ODD = ("=1,2.png", 'quo"te.png', "übung.png")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(photos, tmp_path) -> Path:
    """Photos of the names ODD, and one whose name is not UTF-8."""
    made = tmp_path / "odd"
    made.mkdir()
    for number, name in enumerate(ODD):
        shutil.copy(photos / f"test/red/{number}.png", made / name)
    shutil.copy(photos / "test/blue/0.png", os.fsencode(made) + b"/caf\xe9.png")
    return made


def quiet() -> Reporter:
    return Reporter(Console(file=io.StringIO()))


def embedder(photos: Path) -> Embedder:
    torch.manual_seed(0)
    spec = small_spec(photos)
    return Embedder.of(build_method(spec, 3)[0].eval(), spec, torch.device("cpu"))


def nothing(picture: Picture, error: Exception) -> None:
    raise AssertionError(f"{picture.name}: {error}")


def read(file: Path) -> tuple[list[str], np.ndarray]:
    if file.suffix == ".npz":
        found = np.load(file, allow_pickle=False)
        return found["path"].tolist(), found["embedding"]
    if file.suffix == ".csv":
        rows = list(csv.reader(io.StringIO(file.read_text("utf-8", "surrogateescape"), newline="")))
        assert rows[0][:2] == ["path", "embedding_0"]
        return [original(row[0]) for row in rows[1:]], np.array([row[1:] for row in rows[1:]], np.float32)
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(file)
    return table["path"].to_pylist(), np.array(table["embedding"].to_pylist(), np.float32)


@pytest.mark.parametrize("piece", [3, 8192])
@pytest.mark.parametrize("ending", [".npz", ".csv", ".parquet"])
def test_every_format_holds_names_and_numbers_in_order(photos, folder, tmp_path, monkeypatch, ending, piece) -> None:
    monkeypatch.setattr(embeddings, "_PIECE", piece)
    pictures, one = find_pictures([str(folder)]), embedder(photos)
    out = tmp_path / f"vectors{ending}"
    assert write_embeddings(out, one, pictures, quiet(), nothing) == 4
    names, numbers = read(out)
    lossless = ending == ".csv"
    shown = [
        name if lossless else name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        for name in (picture.name for picture in pictures)
    ]
    assert names == shown
    assert np.array_equal(numbers, one.embed(pictures, quiet()).numpy())
    assert {path.name for path in tmp_path.iterdir()} == {"odd", "cache", out.name}


@pytest.mark.parametrize("ending", [".npz", ".csv", ".parquet"])
def test_an_error_in_the_middle_leaves_no_file(photos, tmp_path, monkeypatch, ending) -> None:
    monkeypatch.setattr(embeddings, "_PIECE", 3)
    one, calls = embedder(photos), []

    def failing(pictures):
        calls.append(pictures)
        if len(calls) > 1:
            raise FgvcError("the disk is full")
        return Embedder.kept(one, pictures)

    monkeypatch.setattr(one, "kept", failing)
    with pytest.raises(FgvcError, match="full"):
        write_embeddings(tmp_path / f"v{ending}", one, find_pictures([str(photos / "test")]), quiet(), nothing)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_what_cannot_be_read_is_left_out(photos, folder, tmp_path) -> None:
    for name in ("bad.png", "worse.png"):
        (folder / name).write_bytes(b"no image")
    told: list[str] = []
    pictures = find_pictures([str(folder)])
    count = write_embeddings(
        tmp_path / "v.npz", embedder(photos), pictures, quiet(), lambda picture, error: told.append(picture.file.name)
    )
    assert (count, told) == (4, ["bad.png", "worse.png"])  # equal files, which are read once
    bad = [picture for picture in pictures if picture.file.name == "bad.png"]
    with pytest.raises(BadRequest, match="no image could be read"):
        write_embeddings(tmp_path / "w.npz", embedder(photos), bad, quiet(), lambda picture, error: None)
    assert not (tmp_path / "w.npz").exists()


def test_names_that_cannot_be_written(tmp_path) -> None:
    with pytest.raises(BadRequest, match=r"must end in \.npz, \.csv or \.parquet"):
        check_out(tmp_path / "v.txt")
    (tmp_path / "v.npz").mkdir()
    with pytest.raises(BadRequest, match="not a regular file"):
        check_out(tmp_path / "v.npz")
