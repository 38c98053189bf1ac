"""Tiny runs to report on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.report.record import Record, read_record
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.browser import browser as browser
from tests.conftest import small_spec

QUIET = Console(quiet=True)
SCRIPT, IMAGE = "<script>window.hacked=1;'", "<img src=x onerror=window.hacked=1>&amp;"  # as names of classes


@pytest.fixture(scope="session")
def odd_photos(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos, two of whose classes have names that a careless page would run."""
    root = tmp_path_factory.mktemp("odd") / "photos"
    shutil.copytree(photos, root)
    for split in ("train", "test"):
        (root / split / "red").rename(root / split / SCRIPT)
        (root / split / "green").rename(root / split / IMAGE)
    return root


@pytest.fixture(scope="session")
def trained(odd_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a held-out part, trained and measured: leave it as it is."""
    path = tmp_path_factory.mktemp("runs") / "reaps-<b>odd"
    train(small_spec(odd_photos, "reaps", "method.units=8", "data.val_fraction=0.25"), path, QUIET)
    return path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to do with as one likes."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def record_of() -> Callable[..., Record]:
    """Reads a run's record."""

    def read(path: Path, split: str = "test") -> Record:
        return read_record(RunFolder(path), path.name, EvalRequest(split), QUIET)

    return read
