"""Weights in the hub's layout, in a folder or fetched, and files as their authors ship them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fgvc_cli.backbones import build_backbone, load_backbone_weights
from fgvc_cli.backbones.preprocessing import resolved, trained_with
from fgvc_cli.backbones.weights import find_run
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.build import build_spec

NAME = "timm:test_vit"
CONFIG = {"architecture": "test_vit", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
CONFIG["pretrained_cfg"] |= {"interpolation": "bicubic", "input_size": [3, 160, 160], "crop_pct": 0.8}  # type: ignore[operator]


def donor() -> dict[str, Tensor]:
    import timm

    torch.manual_seed(7)
    return timm.create_model("test_vit").state_dict()


def write_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_file(donor(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def load(weights: object, name: str = NAME) -> tuple[dict[str, Tensor], list[str]]:
    torch.manual_seed(0)
    backbone = build_backbone(name)
    notes = load_backbone_weights(backbone, BackboneSpec(name=name, weights=str(weights)))
    return backbone.trunk.state_dict(), notes


def test_a_folder_of_the_hub(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "vit")
    assert find_run(str(folder)) is None
    loaded, notes = load(folder)
    assert all(torch.equal(value, donor()[key]) for key, value in loaded.items())
    assert [note for note in notes if "classifier head not loaded (head.bias, head.weight)" in note]
    flags = {"backbone.name": NAME, "backbone.weights": str(folder), "data.image_size": "auto", "data.resize": "auto"}
    data = resolved(build_spec(method="baseline", dataset="folder", flags=flags)).data
    assert (data.mean, data.std, data.interpolation) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic")
    assert (data.image_size, data.resize) == (160, 200)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pretrained_cfg": {"mean": "x"}}', '{"pretrained_cfg": [1]}'])
def test_a_config_that_says_nothing(tmp_path: Path, text: str) -> None:
    folder = write_folder(tmp_path / "vit")
    (folder / "config.json").write_text(text)
    flags = {"backbone.name": NAME, "backbone.weights": str(folder)}
    assert trained_with(build_spec(method="baseline", dataset="folder", flags=flags)).size == 160  # timm's own record


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"has no model.safetensors: it is not a run folder"):
        load(tmp_path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with one repository, and no network."""
    import huggingface_hub.constants as constants

    commit = "0" * 40
    place = tmp_path / "hub/models--someone--vit"
    write_folder(place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs/main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_OFFLINE", True, raising=False)
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_OFFLINE", True, raising=False)
    return tmp_path


def test_a_repository_that_was_fetched_before(hub: Path) -> None:
    loaded, _ = load("hf-hub:someone/vit")
    assert all(torch.equal(value, donor()[key]) for key, value in loaded.items())


def test_a_repository_that_cannot_be_fetched(hub: Path) -> None:
    with pytest.raises(FgvcError, match=r"could not fetch hf-hub:someone/other \(.*\): .* or use --weights") as caught:
        load("hf-hub:someone/other")
    assert "\n" not in str(caught.value)
    with pytest.raises(BadRequest, match="no repository 'not/a/name'"):
        load("hf-hub:not/a/name")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BadRequest, match="needs the package huggingface_hub: pip install huggingface_hub"):
        load("hf-hub:a/b")


def as_meta_ships(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A DINOv3 ViT of timm under the names of the authors' files."""
    renamed = {}
    for key, value in tensors.items():
        name = (
            key.replace("reg_token", "storage_tokens").replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
        )
        renamed[name] = value
    renamed["mask_token"] = torch.zeros(1, tensors["cls_token"].shape[-1])
    renamed["rope_embed.periods"] = torch.ones(16)
    for key in [key for key in renamed if key.endswith("attn.qkv.weight")]:
        width = renamed[key].shape[0]
        renamed[key.replace("weight", "bias")] = torch.zeros(width)
        renamed[key.replace("weight", "bias_mask")] = torch.zeros(width)
    return renamed


def test_dinov3_as_its_authors_ship_it(tmp_path: Path) -> None:
    torch.manual_seed(3)
    theirs = build_backbone("timm:vit_small_patch16_dinov3").trunk.state_dict()
    torch.save(as_meta_ships(theirs), tmp_path / "dinov3_vits16_pretrain.pth")
    loaded, _ = load(tmp_path / "dinov3_vits16_pretrain.pth", "timm:vit_small_patch16_dinov3")
    assert all(torch.equal(value, theirs[key]) for key, value in loaded.items())


def test_positions_of_another_size_are_resampled(tmp_path: Path) -> None:
    tensors = donor()
    tensors["pos_embed"] = torch.randn(1, 1 + 8 * 8, tensors["pos_embed"].shape[2])
    torch.save(tensors, tmp_path / "small.pth")
    loaded, notes = load(tmp_path / "small.pth")
    assert torch.equal(loaded["blocks.0.norm1.weight"], tensors["blocks.0.norm1.weight"])
    assert not [note for note in notes if "different shape" in note]


def test_what_fits_nothing_is_refused(tmp_path: Path) -> None:
    torch.save({f"layer{i}.weight": torch.ones(2) for i in range(5)}, tmp_path / "other.pth")
    with pytest.raises(BadRequest, match=r"does not fit backbone timm:test_vit: 0 of its \d+ tensors match"):
        load(tmp_path / "other.pth")
