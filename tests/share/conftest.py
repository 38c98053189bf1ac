"""A hub on this machine, and a run to share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import fgvc_cli as fgvc
from tests.share.stub import TOKEN, Hub, serving


@pytest.fixture(scope="session")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> fgvc.Run:
    """A run that was trained for a moment, with a validation split and a detector of unknown classes."""
    run = fgvc.train(
        method="reaps",
        dataset="folder",
        data_dir=photos,
        out=tmp_path_factory.mktemp("share") / "red-green-blue",
        backbone="tiny",
        weights="none",
        image_size=32,
        epochs=1,
        batch_size=5,
        workers=0,
        device="cpu",
        val_fraction=0.3,
        set={"data.resize": 36, "method.units": 8, "backbone.plain_epochs": 0},
        progress=False,
    )
    run.load().predict(photos / "test/red/0.png", unknown=True)  # fits what tells unknown classes
    return run


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub that this process talks to, with a token that it accepts, and empty caches."""
    import huggingface_hub.constants as constants

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's attempts
    with serving(Hub()) as served:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, served.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", served.endpoint)
        monkeypatch.chdir(tmp_path)
        yield served
