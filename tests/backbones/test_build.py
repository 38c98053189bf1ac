"""Backbones: named maps in the layouts of their libraries."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model

from fgvc_cli.backbones import Backbone, build_backbone, load_backbone_weights
from fgvc_cli.backbones.timm import library
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.spec.backbone import TORCHVISION_NAMES, BackboneSpec


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return get_model(name, weights=None)


def load(name: str, path: Path | str) -> tuple[Backbone, list[str]]:
    backbone = build_backbone(name)
    return backbone, load_backbone_weights(backbone, BackboneSpec(name=name, weights=str(path)))


# ---------------------------------------------------------------- maps


@pytest.mark.parametrize("name", TORCHVISION_NAMES)
def test_the_trunk_keeps_torchvision_s_keys_and_shapes(name: str) -> None:
    theirs = {key: value.shape for key, value in on_meta(name).state_dict().items()}
    ours = {key: value.shape for key, value in build_backbone(name).state_dict().items()}
    assert ours == {f"trunk.{k}": v for k, v in theirs.items() if not k.startswith(("fc.", "classifier."))}


@pytest.mark.parametrize("name", ["tiny", *TORCHVISION_NAMES, "timm:resnet18", "timm:convnext_atto"])
def test_maps_have_the_channels_and_strides_they_claim(name: str) -> None:
    backbone = build_backbone(name)
    sizes = backbone.map_sizes(64, 128)
    assert tuple(sizes) == backbone.names
    assert all(sizes[n] == (64 // backbone.strides[n], 128 // backbone.strides[n]) for n in backbone.names)
    low, middle, top = backbone.pyramid
    assert top == backbone.last
    assert backbone.strides[top] == 2 * backbone.strides[middle] == 4 * backbone.strides[low]
    if name == "tiny" or name.endswith("18"):
        maps = backbone.eval()(torch.randn(1, 3, 64, 128), backbone.names)
        assert {n: (m.shape[1], *m.shape[2:]) for n, m in maps.items()} == {
            n: (backbone.channels[n], *sizes[n]) for n in backbone.names
        }


def test_names_of_the_papers_layers() -> None:
    assert build_backbone("resnet50").channels == {
        "conv1": 64,
        "conv2": 256,
        "conv3": 512,
        "conv4": 1024,
        "conv5": 2048,
    }
    vgg = build_backbone("vgg16_bn")
    assert vgg.names[-8:] == ("conv4_1", "conv4_2", "conv4_3", "pool4", "conv5_1", "conv5_2", "conv5_3", "pool5")
    assert vgg.pyramid == ("pool3", "pool4", "pool5")
    assert build_backbone("vgg19").names[-2:] == ("conv5_4", "pool5")
    assert build_backbone("vgg19").map_sizes(448, 448)["pool5"] == (14, 14)


def test_tiny_is_as_small_as_it_says() -> None:
    tiny = build_backbone("tiny")
    assert sum(p.numel() for p in tiny.parameters()) == 565_936
    assert list(tiny.channels.values()) == [16, 32, 48, 96, 160]
    assert list(tiny.strides.values()) == [2, 4, 4, 8, 16]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg16", "vgg16_bn"])
def test_the_top_map_is_torchvision_s_own(name: str) -> None:
    backbone = build_backbone(name).eval()
    part = backbone.trunk.get_submodule
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        ours = backbone(images, [backbone.last])[backbone.last]
        if name.startswith("vgg"):
            theirs = part("features")(images)
        else:  # torchvision's ResNet._forward_impl
            theirs = part("maxpool")(part("relu")(part("bn1")(part("conv1")(images))))
            for layer in ("layer1", "layer2", "layer3", "layer4"):
                theirs = part(layer)(theirs)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["tiny", "resnet18", "vgg16"])
def test_the_trunk_is_re_entered_after_any_map(name: str) -> None:
    backbone = build_backbone(name).eval()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        maps = backbone(images, backbone.names)
        for i, after in enumerate(backbone.names[:-1]):
            rest = backbone(maps[after], backbone.names[i + 1 :], after=after)
            assert all(torch.equal(rest[n], maps[n]) for n in rest)
            assert tuple(rest) == backbone.names[i + 1 :]


def test_nothing_above_the_last_tap_runs() -> None:
    backbone = build_backbone("tiny")
    backbone.trunk.get_submodule("conv4").register_forward_hook(lambda *_: pytest.fail("conv4 ran"))
    assert list(backbone(torch.randn(1, 3, 32, 32), ["conv2", "conv3"])) == ["conv2", "conv3"]


@pytest.mark.parametrize(("taps", "after"), [(["conv9"], None), ([], None), (["conv3"], "conv3"), (["conv2"], "conv4")])
def test_taps_that_cannot_be_reached(taps: list[str], after: str | None) -> None:
    with pytest.raises(ValueError, match="are not maps above"):
        build_backbone("tiny")(torch.randn(1, 48, 8, 8), taps, after)


def test_copies_and_conversions_run_their_own_modules() -> None:
    backbone = build_backbone("tiny").eval()
    images = torch.randn(1, 3, 32, 32)
    twin = copy.deepcopy(backbone)
    assert torch.equal(twin(images, ["conv5"])["conv5"], backbone(images, ["conv5"])["conv5"])
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert not torch.equal(twin(images, ["conv5"])["conv5"], backbone(images, ["conv5"])["conv5"])
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(backbone)
    assert any(isinstance(m, nn.SyncBatchNorm) for m in synced.modules())
    assert synced(images, ["conv5"])["conv5"].shape == (1, 160, 2, 2)


def test_map_sizes_compute_nothing_and_change_nothing() -> None:
    backbone = build_backbone("tiny")
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    state = torch.get_rng_state()
    backbone.map_sizes(448, 320)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_unknown_backbone() -> None:
    with pytest.raises(BadRequest, match="no backbone is called 'resnet19'"):
        build_backbone("resnet19")


# ---------------------------------------------------------------- timm


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "convnext_atto",
        "regnetx_002",
        "swin_tiny_patch4_window7_224",
        "tf_efficientnet_lite0",
        "mobilenetv3_small_050",
    ],
)
def test_the_rest_of_timm_s_trunk_gives_the_same_maps(name: str) -> None:
    backbone = build_backbone(f"timm:{name}").eval()
    if not backbone.reenters:
        pytest.skip("runs whole in this timm")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = backbone(images, backbone.names)
        kept = {name: value.clone() for name, value in maps.items()}
        for i, after in enumerate(backbone.names[:-1]):
            rest = backbone(maps[after], backbone.names[i + 1 :], after=after)
            assert tuple(rest) == backbone.names[i + 1 :]
            assert all(torch.equal(rest[n], kept[n]) for n in rest)
    assert all(torch.equal(maps[n], kept[n]) for n in maps)  # nothing is written into the map it is entered with


@pytest.mark.parametrize(
    "name", ["resnet18", "convnext_atto", "regnetx_002", "tf_efficientnet_lite0", "mobilenetv3_small_050"]
)
def test_timm_s_plain_families_are_re_entered(name: str) -> None:
    assert build_backbone(f"timm:{name}").reenters


def test_timm_taps_that_cannot_be_reached() -> None:
    with pytest.raises(ValueError, match="are not maps above"):
        build_backbone("timm:resnet18")(torch.randn(1, 64, 8, 8), ["conv2"], "conv3")


def test_a_timm_model_that_runs_whole_says_so() -> None:
    backbone = build_backbone("timm:xception41")
    assert not backbone.reenters
    with pytest.raises(BadRequest, match="cannot start from map"):
        backbone(torch.randn(1, 256, 8, 8), ["conv5"], "conv3")


def test_a_timm_model_whose_maps_timm_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fgvc_cli.backbones.timm.library.create", lambda *_, **__: nn.Identity())
    with pytest.raises(BadRequest, match=r"cannot return feature maps: timm \S+ has no interface for them; .*upgrade"):
        build_backbone("timm:densenet121")


def test_timm_names_close_to_an_unknown_one() -> None:
    with pytest.raises(BadRequest, match=r"no model called 'resnet_50'; similar names: .*resnet"):
        build_backbone("timm:resnet_50")


def test_timm_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BadRequest, match="timm: backbones need the package timm: pip install timm"):
        build_backbone("timm:resnet18")


def test_timm_maps_with_channels_last_come_out_channels_first() -> None:
    backbone = build_backbone("timm:swin_tiny_patch4_window7_224")
    assert backbone.map_sizes(64, 64)[backbone.last] == (2, 2)


def test_timm_imagenet_goes_through_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    create = library.create
    asked = []

    def pretrained(model: str, *, pretrained: bool, **more: object) -> nn.Module:
        asked.append((model, pretrained))
        created = create(model, pretrained=False)
        if pretrained:
            nn.init.constant_(created.get_parameter("conv1.weight"), 0.5)
        return created

    monkeypatch.setattr(library, "create", pretrained)
    backbone, _ = load("timm:resnet18", "imagenet")
    assert asked == [("resnet18", False), ("resnet18", True)]
    assert (backbone.trunk.get_parameter("conv1.weight") == 0.5).all()


def test_timm_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    create = library.create

    def offline(model: str, *, pretrained: bool, **more: object) -> nn.Module:
        if pretrained:
            raise OSError("no route to host\nand much more")
        return create(model, pretrained=False)

    monkeypatch.setattr(library, "create", offline)
    with pytest.raises(FgvcError, match=r"weights of resnet18 \(no route to host\): .*--weights FILE") as caught:
        load("timm:resnet18", "imagenet")
    assert "\n" not in str(caught.value)


def fit_timm_file(name: str, file: Path) -> Backbone:
    """Write the state dict of timm's whole model, load it into a backbone and see that all of it arrived."""
    import timm

    theirs = timm.create_model(name, pretrained=False).state_dict()
    save_file(theirs, file)
    backbone, notes = load(f"timm:{name}", file)
    assert any("head" in note for note in notes)
    given = {backbone.canonical(k): v for k, v in theirs.items()}
    assert all(torch.equal(v, given[backbone.canonical(k)]) for k, v in backbone.trunk.state_dict().items())
    return backbone


def test_timm_reads_a_file_in_timm_s_layout(tmp_path: Path) -> None:
    fit_timm_file("convnext_atto", tmp_path / "w.safetensors")


def test_maps_of_a_transformer_are_of_four_depths_and_any_size(tmp_path: Path) -> None:
    backbone = fit_timm_file("vit_tiny_patch16_224", tmp_path / "w.safetensors")
    assert backbone.names == ("block3", "block6", "block9", "block12")
    assert backbone.map_sizes(96, 64)["block12"] == (6, 4)
    assert backbone.pyramid == ("block6.up", "block9", "block12.down")
    assert [backbone.strides[name] for name in backbone.pyramid] == [8, 16, 32]


def test_maps_whose_strides_do_not_double_make_no_pyramid() -> None:
    with pytest.raises(BadRequest, match="pyramid"):
        _ = build_backbone("timm:mixer_s16_224").pyramid
