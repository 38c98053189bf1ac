"""Labels that are likely wrong, from a program."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import fgvc_cli as fgvc

SETS = {"data.resize": 36, "backbone.weights": "none", "data.image_size": 32}


@pytest.fixture
def mixed(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos of which one is a copy with another label."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = Path(shutil.copytree(photos, tmp_path / "mixed"))
    shutil.copy(root / "train/green/1.png", root / "train/red/copy.png")
    return root


def test_of_a_dataset(mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags: dict[str, Any] = {"dataset": "folder", "data_dir": mixed, "backbone": "tiny", "set": SETS, "device": "cpu"}
    found = fgvc.check_labels(count=3, by="neighbours", folds=2, progress=False, **flags)
    assert capsys.readouterr() == ("", "")
    assert (len(found.suspects), found.images, found.folder) == (3, 34, None)
    first = {one.image for one in found.suspects[:2]}
    assert first == {"train/green/1.png", "train/red/copy.png"}
    out = tmp_path / "labels"
    written = fgvc.check_labels(count=3, by="neighbours", folds=2, out=out, **flags)
    assert written.folder == out
    assert {file.name for file in out.iterdir()} == {"suspects.csv", "suspects.png", "index.html"}
    with pytest.raises(fgvc.BadRequest, match="exists: --force replaces the list in it"):
        fgvc.check_labels(out=out, **flags)


def test_of_runs(trained: fgvc.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = trained.check_labels(count=2, progress=False)
    assert found.images == 15  # 9 of the test split, and those of the validation split
    assert {one.split for one in found.suspects} <= {"val", "test"}


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({}, "give a run, or --dataset"),
        ({"runs": "x", "dataset": "folder"}, "give runs or --dataset, not both"),
        ({"runs": "x", "backbone": "tiny"}, "--backbone is for --dataset: a run has its own"),
        ({"runs": "nowhere"}, "nowhere"),
        ({"dataset": "folder", "count": 0}, "--count 0: give at least 1"),
        ({"dataset": "folder", "folds": 1}, "--folds 1: give 2 to 100"),
        ({"dataset": "folder", "by": "x"}, "--by x: choose both, confident or neighbours"),
    ],
    ids=str,
)
def test_what_is_wrong(asked: dict[str, Any], complaint: str) -> None:
    with pytest.raises(fgvc.BadRequest, match=complaint):
        fgvc.check_labels(progress=False, **asked)
