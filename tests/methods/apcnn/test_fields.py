"""What AP-CNN's fields change, what is refused, and the backbones and sizes it runs on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fgvc_cli.backbones import build_backbone
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods.apcnn.method import ApCnn
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.methods.apcnn import ApCnnSpec
from fgvc_cli.spec.optim import OptimSpec
from fgvc_cli.training.optim import parameter_groups
from tests.methods.common import Build, images

K, SIZE = 5, 64


def test_pyramid_none_is_the_plain_backbone(build: Build) -> None:
    method = build(ApCnnSpec(pyramid="none", refine=False)).eval()
    output = method(images())
    assert list(output.branches) == ["raw_p5", "raw", "final"]
    features = method.backbone(images(), ["conv5"])["conv5"]
    head = method.get_submodule("heads.p5")
    torch.testing.assert_close(output.logits, head(features.mean((2, 3))))


@pytest.mark.parametrize(
    ("fields", "spatial", "channel"),
    [
        ({"pyramid": "fp"}, 0, 0),
        ({"spatial_gate": False}, 0, 3),
        ({"channel_gate": False, "pathway": "none"}, 3, 0),
        ({}, 3, 3),
    ],
)
def test_gates_that_are_off_have_no_parameters(
    apcnn: Callable[..., ApCnn], fields: dict[str, Any], spatial: int, channel: int
) -> None:
    method = apcnn(refine=False, **fields)
    assert (len(method.gates.spatial), len(method.gates.channel)) == (spatial, channel)
    found = method(images(), evidence=True).evidence
    assert found is not None
    shown = {kind for kind, on in (("gate", spatial), ("channels", channel)) if on}
    assert {maps.kind for maps in found.maps.values()} == (shown or {"activation"})


@pytest.mark.parametrize(
    "fields",
    [
        {"pathway": "none"},
        {"pathway": "spatial"},
        {"bottom_up": "sum"},
        {"anchor_offset": 0.5},
        {"border": 0.3},
        {"anchor_sizes": (16, 32, 64)},
        {"top_k": (1, 1, 1)},
        {"nms_iou": 0.9},
        {"zoom": False},
        {"refine_at": "input"},
        {"refine_at": "conv2"},
        {"refine_at": "conv1"},
        {"average": "probabilities"},
    ],
    ids=str,
)
def test_a_field_changes_the_prediction(apcnn: Callable[..., ApCnn], fields: dict[str, Any]) -> None:
    """With gates that are not saturated, so that each place has a value of its own."""
    plain, changed = apcnn(start="pytorch"), apcnn(start="pytorch", **fields)
    changed.load_state_dict(plain.state_dict())
    assert not torch.allclose(plain(images()).logits, changed(images()).logits, rtol=1e-6, atol=1e-7)


def test_fields_that_change_what_is_built(apcnn: Callable[..., ApCnn]) -> None:
    assert "fused" not in apcnn(fused_head=False).heads
    assert list(apcnn(refine=False)(images()).branches) == ["raw_p3", "raw_p4", "raw_p5", "raw_fused", "raw", "final"]
    assert not apcnn(refine=False)(images(), evidence=True).evidence.boxes  # type: ignore[union-attr]
    assert apcnn(width=24).get_submodule("heads.fused.0").num_features == 72
    assert apcnn(reduction=2).get_submodule("gates.channel.0.layers.0").out_features == 8
    assert apcnn(neck="top_down").get_submodule("heads.fused.0").num_features == 160


@pytest.mark.parametrize("trunk_rate", [1.0, 0.1])
def test_layers_before_conv5_learn_slower(apcnn: Callable[..., ApCnn], trunk_rate: float) -> None:
    method = apcnn(trunk_rate=trunk_rate)
    rates = {id(p): group["lr"] for group in parameter_groups(method, OptimSpec(), 0.2) for p in group["params"]}
    for name, parameter in method.named_parameters():
        slow = name.startswith("backbone.") and "conv5" not in name
        assert rates[id(parameter)] == pytest.approx(0.2 * (trunk_rate if slow else 1))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ("channel_gate=false", "pathway channel joins channel gates"),
        ("pathway=spatial|spatial_gate=false|guidance=random", "pathway spatial joins spatial gates"),
        ("pyramid=none", "pyramid none has no second stage"),
        ("pyramid=fp", "without spatial gates no region can be chosen"),
        ("spatial_gate=false", "without spatial gates no region can be chosen"),
        ("erase=false|zoom=false", "sees what the first saw"),
        ("drop_rates=[0.5,0.5,0.5]", "they sum to 1.5, over 1"),
        ("top_k=[5,3]", "top_k"),
        ("border=0.5", "border"),
    ],
)
def test_impossible_settings(fields: str, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint) as caught:
        build_spec(method="apcnn", dataset="demo", sets=[f"method.{field}" for field in fields.split("|")])
    assert complaint in str(caught.value)


def test_presets_have_the_papers_recipe() -> None:
    cub, cars = (build_spec(method="apcnn", dataset=name) for name in ("cub", "cars"))
    assert cub.method == ApCnnSpec(border=0.2, trunk_rate=0.1)
    assert cars.method == ApCnnSpec()
    assert (cub.data.resize, cars.data.resize, cub.data.image_size) == (600, None, 448)
    assert (cub.optim.lr, cub.optim.weight_decay, cub.train.epochs, cub.train.batch_size) == (0.001, 5e-4, 100, 16)


# ---------------------------------------------------------------- backbones and sizes


@pytest.mark.parametrize(
    "backbone", ["resnet18", "vgg16_bn", "timm:resnet18", "timm:convnext_atto", "timm:tf_efficientnet_lite0"]
)
@pytest.mark.parametrize("refine_at", ["conv3", "conv2"])
def test_other_backbones_run_both_stages(backbone: str, refine_at: str) -> None:
    torch.manual_seed(0)
    spec = ApCnnSpec(width=16, refine_at=refine_at)
    method = ApCnn(spec, build_backbone(backbone), K, SIZE).eval()
    with torch.no_grad():
        output = method(images(2), evidence=True)
    assert torch.isfinite(output.logits).all()
    assert "refined_p3" in output.branches


def test_a_backbone_that_runs_whole_is_refined_at_its_input() -> None:
    backbone = build_backbone("timm:densenet121")
    with pytest.raises(BadRequest, match=r"refine_at=conv3: .*runs whole only: set method.refine_at=input"):
        ApCnn(ApCnnSpec(), backbone, K, SIZE)
    method = ApCnn(ApCnnSpec(width=16, refine_at="input", trunk_rate=0.5), backbone, K, SIZE).eval()
    with torch.no_grad():
        assert torch.isfinite(method(images(2)).logits).all()
    assert len(parameter_groups(method, OptimSpec(), 1.0)[0]["params"]) == len(list(backbone.parameters()))


def test_backbones_that_cannot_serve() -> None:
    with pytest.raises(BadRequest, match="pyramid"):
        ApCnn(ApCnnSpec(), build_backbone("timm:mixer_s16_224"), K, SIZE)
    with pytest.raises(BadRequest, match=r"refine_at=conv1: .*has no such map"):
        ApCnn(ApCnnSpec(refine_at="conv1"), build_backbone("timm:convnext_atto"), K, SIZE)


@pytest.mark.parametrize("num_classes", [2, 1000])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 64), (2, 50, 90), (2, 33, 17), (1, 96, 64)])
def test_few_and_many_classes_odd_sizes_and_a_batch_of_one(
    apcnn: Callable[..., ApCnn], num_classes: int, batch: int, height: int, width: int
) -> None:
    output = apcnn(num_classes)(images(batch, height, width), evidence=True)
    assert output.logits.shape == (batch, num_classes)
    assert all(torch.isfinite(logits).all() for logits in output.branches.values())
