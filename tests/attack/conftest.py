"""A small run to attack."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.cli.conftest import command  # noqa: F401  the command line inside this process
from tests.conftest import small_spec


@pytest.fixture(scope="session")
def whole_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch with a validation split: leave it as it is."""
    path = tmp_path_factory.mktemp("whole") / "run"
    spec = small_spec(photos, "baseline", "train.epochs=1", "data.val_fraction=0.25", "train.threads=1")
    train(spec, path, Console(quiet=True))
    return path


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to do with as one likes."""
    return Path(shutil.copytree(whole_run, tmp_path / "runs" / "run"))
