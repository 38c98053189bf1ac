"""Networks of every family as they were made: timm's own embedding, re-entry after every map, all methods on them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.io import ImageReadMode, read_image
from torchvision.models import get_model
from torchvision.transforms.v2 import functional as F

from fgvc_cli.backbones import EMBEDDING, Backbone, build_backbone
from fgvc_cli.methods import METHODS
from fgvc_cli.methods.base import Method
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from tests.making import SMALL, method_on

K = 5
ROWS = [  # one of each class of timm that runs its modules in a row
    *("gernet_s", "convnextv2_atto", "cspresnet50", "davit_tiny", "edgenext_xx_small", "efficientvit_b0", "fastvit_t8"),
    *("ghostnet_100", "hgnetv2_b0", "inception_next_atto", "maxvit_tiny_rw_224", "poolformer_s12", "nf_resnet26"),
    *("regnety_002", "resnet18", "resnetv2_50", "starnet_s1", "swin_tiny_patch4_window7_224", "tiny_vit_5m_224"),
    *("swinv2_tiny_window8_256", "tf_efficientnet_lite0", "mobilenetv4_conv_small", "convnext_atto"),
]
TOKENS = [
    *("vit_tiny_patch16_224", "vit_small_patch16_dinov3", "vit_base_patch16_siglip_224"),
    *("vit_small_patch14_reg4_dinov2", "eva02_tiny_patch14_224", "test_vit"),
]


def build(name: str) -> tuple[Backbone, Tensor]:
    """The network in evaluation mode, and images of the size it was made for."""
    torch.manual_seed(0)
    backbone = build_backbone(name, embedding=True).eval()
    config = getattr(backbone.trunk, "pretrained_cfg", None) or {}
    return backbone, torch.randn(1, 3, *(config.get("input_size") or (3, 64, 64))[1:])


def same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def check_against_timm(name: str) -> None:
    """The embedding is what timm's forward returns without a classifier; each map leads to the same top."""
    backbone, images = build(f"timm:{name}")
    carried = [one for tap in backbone.names for one in backbone.beside(tap)]
    maps = backbone(images, [*backbone.names, *carried, EMBEDDING])
    network: nn.Module = backbone.trunk
    assert same(maps[EMBEDDING], network(images))
    assert maps[EMBEDDING].shape == (1, backbone.embedding_width)
    sides = tuple(images.shape[2:])
    sizes = backbone.map_sizes(*sides)
    for tap in backbone.names:
        height, width = sizes[tap]
        assert maps[tap].shape == (1, backbone.channels[tap], height, width)
        assert height == -(-sides[0] // backbone.strides[tap])
    for tap in backbone.names[:-1] if backbone.reenters else ():
        beside = backbone.beside(tap)
        rest = backbone(maps[tap], [EMBEDDING], after=tap, beside=maps[beside[0]] if beside else None)
        assert same(rest[EMBEDDING], maps[EMBEDDING])


@pytest.mark.parametrize("name", [*TOKENS, "densenet121", "hiera_tiny_224"])
def test_timm_s_own_embedding(name: str) -> None:
    check_against_timm(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_timm_s_own_embedding_of_every_row(name: str) -> None:
    check_against_timm(name)
    assert build_backbone(f"timm:{name}").reenters


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"])
@torch.no_grad()
def test_a_pyramid_of_tokens(name: str) -> None:
    """Strides 8, 16, 32; the network goes on exactly from the lowest level, with the tokens of its depth."""
    backbone, _ = build(f"timm:{name}")
    images = torch.randn(2, 3, 64, 96)
    low, middle, high = backbone.pyramid
    maps = backbone(images, [low, *backbone.beside(low), middle, high, EMBEDDING])
    assert [tuple(maps[tap].shape[2:]) for tap in (low, middle, high)] == [(8, 12), (4, 6), (2, 3)]
    (tokens,) = backbone.beside(low)
    rest = backbone(maps[low], [middle, high, EMBEDDING], after=low, beside=maps[tokens])
    assert all(same(rest[tap], maps[tap]) for tap in (middle, high, EMBEDDING))
    with pytest.raises(ValueError, match="goes on from"):
        backbone(maps[low], [high], after=low)


@pytest.fixture(scope="module")
def photographs(realdata: Path) -> Tensor:
    files = sorted((realdata / "CUB_200_2011/images").glob("*/*.jpg"))[::1500]
    images = [F.resize(read_image(str(file), ImageReadMode.RGB), [224, 224], antialias=True) for file in files]
    return torch.stack(images).float() / 127.5 - 1


def with_classifier(name: str, library: nn.Module) -> Method:
    """The baseline with all weights of a library's whole network, its classifier's included."""
    method = method_on(name, BaselineSpec(pool="network"), 1000, 224).eval()
    theirs = library.state_dict()
    method.backbone.trunk.load_state_dict({key: theirs[key] for key in method.backbone.trunk.state_dict()})
    last = [module for module in library.modules() if isinstance(module, nn.Linear) and module.out_features == 1000][-1]
    method.classifier.load_state_dict(last.state_dict())
    return method


@pytest.mark.realdata
@pytest.mark.parametrize("name", [name for name in SMALL if name.startswith("timm:")])
@torch.no_grad()
def test_the_baseline_is_timm_s_classifier(name: str, photographs: Tensor) -> None:
    import timm

    torch.manual_seed(1)
    library = timm.create_model(name.removeprefix("timm:"), num_classes=1000).eval()
    method = with_classifier(name, library)
    assert (method(photographs).logits - library(photographs)).abs().max() < 1e-4


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["resnet50", "vgg16"])
@torch.no_grad()
def test_the_baseline_is_torchvision_s_classifier(name: str, photographs: Tensor) -> None:
    torch.manual_seed(1)
    library = get_model(name, weights=None).eval()
    method = with_classifier(name, library)
    assert (method(photographs).logits - library(photographs)).abs().max() < 1e-4


def check_step(name: str, side: int, spec: MethodSpec) -> None:
    """One step reaches every parameter that is trained, and evidence is given."""
    torch.manual_seed(0)
    method = method_on(name, spec, K, side).train()
    method.on_epoch(1, 2)
    labels = torch.arange(3) % K
    losses = method.losses(method(torch.randn(3, 3, side, side)), labels)
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert torch.isfinite(total)
    unused = [key for key, value in method.named_parameters() if value.requires_grad and value.grad is None]
    assert not unused
    with torch.no_grad():
        seen = method.eval()(torch.randn(2, 3, side, side), evidence=True)
    assert seen.logits.shape == (2, K)
    assert seen.evidence is not None
    assert seen.evidence.maps
    assert seen.evidence.heads


QUICK = ("timm:tf_efficientnet_lite0", "timm:vit_tiny_patch16_224", "timm:convnext_atto")


@pytest.mark.parametrize("spec", [spec() for spec in METHODS], ids=lambda spec: spec.name)
@pytest.mark.parametrize("name", QUICK)
def test_every_method_on_a_family(name: str, spec: MethodSpec) -> None:
    check_step(name, SMALL[name], spec)


@pytest.mark.slow
@pytest.mark.parametrize("spec", [spec() for spec in METHODS], ids=lambda spec: spec.name)
@pytest.mark.parametrize("name", [name for name in SMALL if name not in QUICK])
def test_every_method_on_the_other_families(name: str, spec: MethodSpec) -> None:
    check_step(name, SMALL[name], spec)
