"""The nearest images, by loops in float64."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.features.gallery import compare, open_gallery
from fgvc_cli.inference.look import Model, open_model
from fgvc_cli.inference.pictures import find_pictures
from fgvc_cli.progress import Reporter
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.conftest import small_spec


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("gallery") / "run"
    train(small_spec(photos, "baseline", "train.epochs=1"), out, Console(file=io.StringIO()))
    return out


def quiet() -> Reporter:
    return Reporter(Console(file=io.StringIO()))


def sorted_by_cosine(model: Model, query: Path, files: list[Path]) -> list[tuple[float, Path]]:
    vectors: Tensor = Embedder.of_model(model).embed(find_pictures([str(query), *map(str, files)]), quiet()).double()
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    return sorted(((float(1 - unit[0] @ row), file) for row, file in zip(unit[1:], files, strict=True)))


def test_the_nearest_of_a_split_and_of_a_folder(run, photos) -> None:
    model = open_model(run)
    query = photos / "test/red/0.png"
    files = sorted((photos / "train").glob("*/*.png"))
    expected = sorted_by_cosine(model, query, files)
    for among in ("train", str(photos / "train")):
        (near,) = compare(model, find_pictures([str(query)]), among, 5, quiet())
        assert [one.picture.file for one in near] == [file for _, file in expected[:5]]
        assert [one.distance for one in near] == pytest.approx([distance for distance, _ in expected[:5]], abs=1e-5)
        assert [one.name for one in near] == [one.picture.file.parent.name for one in near]


def test_an_image_is_not_its_own_neighbour_and_few_are_all(run, photos) -> None:
    model = open_model(run)
    found = compare(model, find_pictures([str(photos / "test")]), str(photos / "test"), 100, quiet())
    assert [len(near) for near in found] == [8] * 9
    for picture, near in zip(find_pictures([str(photos / "test")]), found, strict=True):
        assert picture.file not in [one.picture.file for one in near]


def test_unreadable_images_are_left_out_and_told(run, photos, tmp_path) -> None:
    folder = Path(shutil.copytree(photos / "test/red", tmp_path / "some"))
    (folder / "bad.png").write_bytes(b"no image")
    told: list[str] = []
    gallery = open_gallery(open_model(run), str(folder), quiet(), lambda picture, error: told.append(str(error)))
    assert len(gallery.pictures) == 3
    assert "bad.png" in told[0]
    assert set(gallery.names) == {None}
    only = tmp_path / "only"
    only.mkdir()
    shutil.copy(folder / "bad.png", only)
    with pytest.raises(BadRequest, match="no image that can be read"):
        open_gallery(open_model(run), str(only), quiet(), lambda picture, error: None)


def test_bad_requests(run, tmp_path) -> None:
    with pytest.raises(BadRequest, match="has no val split"):
        open_gallery(open_model(run), "val", quiet())
    alone = Path(shutil.copy(run / "model.safetensors", tmp_path / "model.safetensors"))
    with pytest.raises(BadRequest, match="is in no run folder, so its train split is not known: give --among FOLDER"):
        open_gallery(open_model(alone), "train", quiet())
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadRequest, match="no image in this folder"):
        open_gallery(open_model(run), str(tmp_path / "empty"), quiet())


def test_every_branch_has_a_vector(photos, tmp_path) -> None:
    train(small_spec(photos, "clan", "train.epochs=1"), tmp_path / "run", Console(file=io.StringIO()))
    model = open_model(tmp_path / "run")
    pictures = find_pictures([str(photos / "test")])
    embedder = Embedder.of_model(model, branches=True)
    rows = embedder.embed(pictures, quiet())
    assert len(embedder.layout) > 2
    plain = Embedder.of_model(model).embed(pictures, quiet())
    assert torch.allclose(rows[:, embedder.layout["embedding"]], plain, atol=1e-5)
    assert rows.shape[1] == max(part.stop for part in embedder.layout.values())
