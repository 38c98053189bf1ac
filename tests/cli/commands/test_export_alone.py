"""An exported file where PyTorch is not installed at all: as docs/export.md says, on photographs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import export_alone
from tests.cli.conftest import Answer

pytestmark = [pytest.mark.slow, pytest.mark.realdata]
SPECIES, TRAINED, NEW = 4, 16, 10  # photographs of each species in the run's folder, and in another


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return export_alone.bare_environment(tmp_path_factory.mktemp("bare"))
    except subprocess.CalledProcessError:
        pytest.skip("the packages cannot be fetched")


@pytest.fixture
def folders(realdata: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Photographs to train on, and others of the same species."""
    for species in sorted((realdata / "CUB_200_2011/images").iterdir())[:SPECIES]:
        for place, file in enumerate(sorted(species.glob("*.jpg"))[: TRAINED + NEW]):
            to = tmp_path / ("mine" if place < TRAINED else "new") / species.name
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to)
    return tmp_path / "mine", tmp_path / "new"


def test_it_answers_and_measures_as_the_run_does(
    command: Callable[..., Answer], python: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    mine, new = folders
    words = ("--backbone", "tiny", "--weights", "none", "--image-size", 64, "--epochs", 1, "--val-fraction", 0.2)
    done = command("train", "--method", "apcnn", "--dataset", "folder", "--data-dir", mine, *words, "--out", "run")
    assert done.code == 0, done.err
    done = command("export", "run", "--dynamic-batch", "--evidence", "--images", new, "--out", "x.onnx")
    assert done.code == 0, done.err
    alone, here = [str(python), "-m", "fgvc_cli"], [sys.executable, "-m", "fgvc_cli"]
    photos = [str(file) for file in sorted(new.glob("*/*.jpg"))]
    there = export_alone.answers(alone, tmp_path / "x.onnx", photos, tmp_path)
    worst, equal = export_alone.largest(export_alone.answers(here, tmp_path / "run", photos, tmp_path), there)
    assert (equal, worst < export_alone.LIMIT) == (SPECIES * NEW, True)
    assert set(there[0]["boxes"]) == {"p3", "p4", "p5", "zoom"}
    expected = measured(here, "run", "--no-localisation", cwd=tmp_path)
    found = measured(alone, "--model", "x.onnx", cwd=tmp_path)
    for key in ("images", "classes", "confusions", "worst_classes"):
        assert found[key] == expected[key], key
    assert found["branches"]["final"] == expected["branches"]["final"]
    assert found["loss"] == pytest.approx(expected["loss"], abs=1e-5)


def measured(command: list[str], *words: str, cwd: Path) -> dict[str, Any]:
    """What `fgvc eval` measures on the new photographs."""
    asked = [*command, "eval", *words, "--data-dir", "new", "--json"]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=cwd, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
