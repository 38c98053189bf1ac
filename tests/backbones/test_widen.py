"""Widened trunks: shapes, keys, what starts anew, and the stride of the last stage."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fgvc_cli.backbones import build_backbone, has_stride, load_backbone_weights, set_stride, widen
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.backbone import BackboneSpec


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in module.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("vgg16_bn", {"conv4_3": 90, "conv5_3": 30}),
        ("vgg16", {"conv4_2": 20, "conv4_3": 90, "pool5": 512}),
        ("resnet18", {"conv5": 60}),
        ("resnet18", {"conv3": 32, "conv4": 40}),
        ("resnet50", {"conv4": 600, "conv5": 30}),
        ("tiny", {"conv1": 8, "conv3": 12, "conv5": 7}),
    ],
)
def test_maps_get_the_widths_asked_for_and_all_else_stays(name: str, widths: dict[str, int]) -> None:
    plain, wide = build_backbone(name), build_backbone(name)
    wide.load_state_dict(plain.state_dict())
    fresh = widen(wide, {n: w for n, w in widths.items() if n != "pool5"})
    assert list(shapes(wide)) == list(shapes(plain))
    changed = {
        key.removeprefix("trunk.").rpartition(".")[0] for key, v in shapes(wide).items() if v != shapes(plain)[key]
    }
    assert changed == set(fresh)
    assert len(fresh) == len(set(fresh))
    kept = [key for key in plain.state_dict() if key.removeprefix("trunk.").rpartition(".")[0] not in fresh]
    assert kept
    assert all(torch.equal(wide.state_dict()[key], plain.state_dict()[key]) for key in kept)
    with torch.no_grad():
        maps = wide.eval()(torch.randn(1, 3, 64, 64), wide.names)
    for map_name, value in maps.items():
        assert value.shape[1] == wide.channels[map_name]
        assert wide.channels[map_name] == widths.get(map_name, wide.channels[map_name])
        assert value.isfinite().all()
    assert {segment.name: segment.channels for segment in wide.segments} == wide.channels
    untouched = set(wide.names) - set(widths) - {"pool4", "pool5"}
    assert all(wide.channels[n] == plain.channels[n] for n in untouched)


def test_the_published_layers() -> None:
    vgg = build_backbone("vgg16_bn")
    fresh = widen(vgg, {"conv4_3": 1800, "conv5_3": 600})
    assert fresh == ["features.30", "features.31", "features.34", "features.40", "features.41"]
    assert (vgg.channels["pool4"], vgg.channels["pool5"]) == (1800, 600)
    state = shapes(vgg.trunk)
    assert state["features.30.weight"] == (1800, 512, 3, 3)
    assert state["features.34.weight"] == (512, 1800, 3, 3)
    assert state["features.40.weight"] == (600, 512, 3, 3)
    resnet = build_backbone("resnet18")
    widen(resnet, {"conv5": 600})
    state = shapes(resnet.trunk)
    assert state["layer4.0.conv1.weight"] == (600, 256, 3, 3)
    assert state["layer4.0.downsample.0.weight"] == (600, 256, 1, 1)
    for layer in ("layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"):
        assert state[f"{layer}.weight"] == (600, 600, 3, 3)
    bottleneck = build_backbone("resnet50")
    widen(bottleneck, {"conv5": 600})
    state = shapes(bottleneck.trunk)
    assert state["layer4.0.conv2.weight"] == (512, 512, 3, 3)
    assert state["layer4.1.conv1.weight"] == (512, 600, 1, 1)


def test_the_same_width_changes_nothing() -> None:
    backbone = build_backbone("tiny")
    before = copy.deepcopy(backbone.state_dict())
    assert widen(backbone, {"conv5": 160}) == []
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_copies_round_trips_and_meta() -> None:
    backbone = build_backbone("tiny").eval()
    widen(backbone, {"conv4": 33})
    set_stride(backbone, "conv5", 1)
    twin = copy.deepcopy(backbone)
    twin.load_state_dict(backbone.state_dict())
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(twin(images, ["conv5"])["conv5"], backbone(images, ["conv5"])["conv5"])
    assert (twin.channels["conv4"], twin.strides["conv5"]) == (33, 8)
    with torch.device("meta"):
        shape_only = build_backbone("resnet18")
        widen(shape_only, {"conv5": 60})
    assert all(parameter.is_meta for parameter in shape_only.parameters())
    assert shape_only.map_sizes(64, 64)["conv5"] == (2, 2)


@pytest.mark.parametrize("name", ["tiny", "resnet18", "resnet50"])
def test_the_last_stage_without_its_stride(name: str) -> None:
    backbone = build_backbone(name)
    before, strides = shapes(backbone), dict(backbone.strides)
    assert has_stride(backbone, "conv5")
    set_stride(backbone, "conv5", 2)
    assert backbone.strides == strides
    assert backbone.pyramid[2] == "conv5"
    set_stride(backbone, "conv5", 1)
    assert shapes(backbone) == before
    assert backbone.strides == {**strides, "conv5": strides["conv4"]}
    assert backbone.segments[-1].stride == strides["conv4"]
    sizes = backbone.map_sizes(64, 96)
    assert sizes["conv5"] == sizes["conv4"] == (64 // strides["conv4"], 96 // strides["conv4"])
    with pytest.raises(BadRequest, match="as a feature pyramid needs"):
        _ = backbone.pyramid


def test_strides_above_follow() -> None:
    backbone = build_backbone("tiny")
    set_stride(backbone, "conv4", 1)
    assert list(backbone.strides.values()) == [2, 4, 4, 4, 8]
    assert backbone.map_sizes(64, 64)["conv5"] == (8, 8)


@pytest.mark.parametrize(("name", "layer"), [("vgg16", "conv5_3"), ("timm:resnet18", "conv5"), ("tiny", "conv3")])
def test_no_stride_there(name: str, layer: str) -> None:
    backbone = build_backbone(name)
    assert not has_stride(backbone, layer)
    with pytest.raises(BadRequest, match=f"no stride at {layer}"):
        set_stride(backbone, layer, 1)


@pytest.mark.parametrize(("name", "layer"), [("vgg16", "pool5"), ("timm:resnet18", "conv5"), ("tiny", "conv9")])
def test_maps_that_cannot_be_widened(name: str, layer: str) -> None:
    with pytest.raises(BadRequest, match=f"no map {layer} that can be widened"):
        widen(build_backbone(name), {layer: 9})


def test_a_shortcut_without_a_layer_cannot_be_widened() -> None:
    with pytest.raises(BadRequest, match="resnet18 cannot be widened at conv2"):
        widen(build_backbone("resnet18"), {"conv2": 32})


def test_a_run_with_a_widened_trunk_gives_what_fits(tmp_path) -> None:
    donor = build_backbone("resnet18")
    widen(donor, {"conv5": 60})
    state = {f"backbone.{key}": value for key, value in donor.state_dict().items()}
    about = '{"spec": {"method": {"name": "x"}, "backbone": {"name": "resnet18"}}}'
    save_file(state, tmp_path / "model.safetensors", metadata={"fgvc": about})
    backbone = build_backbone("resnet18")
    notes = load_backbone_weights(backbone, BackboneSpec(name="resnet18", weights=str(tmp_path)))
    assert len(notes) == 1
    assert "different shape: layer4.0.conv1.weight" in notes[0]
    assert torch.equal(backbone.state_dict()["trunk.conv1.weight"], donor.state_dict()["trunk.conv1.weight"])
    save_file(donor.trunk.state_dict(), tmp_path / "other.safetensors")  # nobody knows whose
    with pytest.raises(BadRequest, match="does not fit backbone resnet18"):
        load_backbone_weights(backbone, BackboneSpec(name="resnet18", weights=str(tmp_path / "other.safetensors")))
