"""Runs to use from Python: one that is not trained, of a method with boxes, and one that is."""

from __future__ import annotations

from pathlib import Path

import pytest

import fgvc_cli as fgvc
from tests.conftest import small_spec, untrained_run

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="session")
def reaps(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without skill whose method has boxes."""
    folder = tmp_path_factory.mktemp("api") / "reaps-run"
    spec = small_spec(photos, "reaps", "method.units=8")
    return untrained_run(spec, CLASSES, folder, temperature=0.5)


@pytest.fixture(scope="session")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> fgvc.Run:
    """A run that was trained for a moment, with a validation split."""
    return fgvc.train(
        method="baseline",
        dataset="folder",
        data_dir=photos,
        out=tmp_path_factory.mktemp("api") / "trained-run",
        backbone="tiny",
        weights="none",
        image_size=32,
        epochs=2,
        batch_size=5,
        workers=0,
        device="cpu",
        val_fraction=0.3,
        set={"data.resize": 36},
        progress=False,
    )
