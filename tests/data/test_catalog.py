from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fgvc_cli.data.catalog import data_roots, locate, require
from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.download.archives import BUNDLES
from fgvc_cli.data.facts import CATALOG
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DATASET_NAMES
from tests.data.small_archives import spec_of, write_cub


def test_every_dataset_has_facts_and_they_need_no_torch() -> None:
    assert tuple(CATALOG) == DATASET_NAMES
    code = "import sys, fgvc_cli.data.catalog; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FGVC_DATA_DIR", raising=False)
    assert data_roots(None) == (Path("data"),)
    monkeypatch.setenv("FGVC_DATA_DIR", str(tmp_path))
    assert data_roots(None) == (tmp_path, Path("data"))
    assert data_roots(tmp_path / "x") == (tmp_path / "x",)


def test_folder_itself_or_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_cub(tmp_path)
    assert locate("cub", tmp_path) == locate("cub", root) == root
    monkeypatch.setenv("FGVC_DATA_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    assert locate("cub", None) is None
    (tmp_path / "data").symlink_to(tmp_path)
    assert locate("cub", None) == Path("data/CUB_200_2011")
    monkeypatch.setenv("FGVC_DATA_DIR", str(tmp_path))
    assert locate("cub", None) == root


@pytest.mark.parametrize("inside", ["images", "images/", "parts", "."])
def test_a_folder_of_the_dataset_stands_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str) -> None:
    root = write_cub(tmp_path)
    (root / "parts").mkdir(exist_ok=True)
    assert require("cub", root / inside).samefile(root)
    assert len(load_index(spec_of("cub", root / inside)).train) > 0
    monkeypatch.chdir(root / inside)
    assert require("cub", Path()).samefile(root)


def test_one_folder_up_and_no_further(tmp_path: Path) -> None:
    """Not a dataset beside the given folder, nor one above a folder that does not exist."""
    root = write_cub(tmp_path)
    (tmp_path / "other").mkdir()
    for wrong in (tmp_path / "other", root / "nowhere", root / "images" / "001.Black"):
        with pytest.raises(BadRequest, match="not found"):
            require("cub", wrong)
    assert locate("cub", root / "images") is None  # what would be downloaded there is not there


@pytest.mark.parametrize("name", list(BUNDLES))
def test_missing_data_say_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        require(name, tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "--data-dir" in message
    assert f"run `fgvc download-data {name} --root {tmp_path}`" in message
    assert "\n" not in message
    with pytest.raises(BadRequest):
        load_index(spec_of(name, tmp_path))
