"""BatchNorm folded into convolutions: the same answers, and nothing folded that must not be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fgvc_cli.backbones import build_backbone
from fgvc_cli.inference.folding import fold_batch_norm
from fgvc_cli.inference.look import open_model
from fgvc_cli.methods import METHODS
from fgvc_cli.methods.base import Evidence, Method
from fgvc_cli.spec.methods.apcnn import ApCnnSpec
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.methods.clan import ClanSpec
from fgvc_cli.spec.methods.tdsa import TdsaSpec
from tests.conftest import small_spec, untrained
from tests.making import method_on

SPECS = [*(spec() for spec in METHODS), ApCnnSpec(refine_at="input"), ClanSpec(context="nonlocal"), TdsaSpec(xi=1)]


def shaken(module: nn.Module) -> nn.Module:
    """In evaluation mode, every BatchNorm with statistics and weights as after some training: none of them 0 or 1."""
    dice = torch.Generator().manual_seed(5)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            for value in (part.running_mean, part.bias):
                value.data.normal_(0, 0.2, generator=dice)
            for value in (part.running_var, part.weight):
                value.data.uniform_(0.5, 1.5, generator=dice)
    return module.eval()


def build(spec: MethodSpec, backbone: str = "tiny") -> Method:
    torch.manual_seed(0)
    method = shaken(method_on(backbone, spec))
    assert isinstance(method, Method)
    method.on_epoch(3, 4)
    return method


def images(side: int = 64) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@torch.no_grad()
def check(method: Method) -> int:
    folded = copy.deepcopy(method)
    count = fold_batch_norm(folded)
    assert norms(method) - norms(folded) == count
    before, after = method(images(), evidence=True), folded(images(), evidence=True)
    assert_same(after.logits, before.logits)
    for name, logits in before.branches.items():
        assert_same(after.branches[name], logits)
    assert isinstance(before.evidence, Evidence)
    assert all(
        bool(getattr(after.evidence, f.name)) or not getattr(before.evidence, f.name) for f in fields(Evidence)[:5]
    )
    return count


TINY = 13  # the stem, and three in each of four blocks


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}{len(spec.model_fields_set)}")
def test_every_method_answers_as_before(spec: MethodSpec) -> None:
    method = build(spec)
    networks = sum(norms(part) for name, part in method.named_modules() if name.endswith("backbone"))
    assert check(method) >= networks >= TINY
    assert networks % TINY == 0


def test_pairs_of_the_methods_own_are_folded() -> None:
    """AP-CNN's pyramid has two: after the 1×1 convolutions of the top map and of its mean."""
    assert check(build(ApCnnSpec())) == TINY + 2


@pytest.mark.parametrize(
    ("backbone", "count"),
    [
        ("resnet18", 20),
        ("resnet50", 53),
        ("vgg16", 0),
        ("vgg16_bn", 13),
        ("timm:resnet10t", 14),
        ("timm:efficientnet_b0", 49),
        ("timm:test_efficientnet", None),
        ("timm:tf_efficientnet_lite0", None),  # its strided convolutions pad as TensorFlow does
        ("timm:test_vit", 0),
        ("timm:convnext_atto", 0),
    ],
)
def test_layers_that_are_folded(backbone: str, count: int | None) -> None:
    method = build(BaselineSpec(), backbone)
    assert check(method) == (norms(method) if count is None else count)


@pytest.mark.parametrize(
    "backbone", ["timm:resnetv2_50", "timm:densenet121", "timm:dpn48b", "timm:xception41", "timm:levit_128s"]
)
def test_networks_of_every_build_answer_as_before(backbone: str) -> None:
    """Normalisation before the convolution, joined maps, hooks, and linear layers with a normalisation of their own."""
    backbone_ = shaken(build_backbone(backbone))
    folded = copy.deepcopy(backbone_)
    fold_batch_norm(folded)
    with torch.no_grad():
        expected, found = (network(images(224), backbone_.names) for network in (backbone_, folded))
    for name, value in expected.items():
        assert_same(found[name], value)


def test_place_and_layout_stay() -> None:
    method = build(BaselineSpec()).to(memory_format=torch.channels_last)
    fold_batch_norm(method)
    weights = [part.weight for part in method.modules() if isinstance(part, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) and weight.requires_grad for weight in weights)
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert not any(part.training for part in method.modules())


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="training mode"):
        fold_batch_norm(build(BaselineSpec()).train())


class Net(nn.Module):
    """Two convolutions and their BatchNorms, put together by a function."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.next, self.last = nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def two_readers(net: Any, x: Tensor) -> Tensor:
    first = net.conv(x)
    return net.last(net.next(net.norm(first))) + first.mean()


def weight_read(net: Any, x: Tensor) -> Tensor:
    return net.last(net.next(net.norm(net.conv(x)))) + net.conv.weight.mean()


def twice(net: Any, x: Tensor) -> Tensor:
    return net.last(net.next(net.norm(net.next(net.norm(net.conv(x))))))


def norm_of_another(net: Any, x: Tensor) -> Tensor:
    return net.last(net.next(net.norm(net.conv(x)))) + net.norm(x[:, :1].expand(-1, 4, -1, -1)).mean()


def in_between(net: Any, x: Tensor) -> Tensor:
    return net.last(net.next(net.norm(net.conv(x).relu())))


def untraceable(net: Any, x: Tensor) -> Tensor:
    return net.last(net.next(net.norm(net.conv(x)))) if x.sum() < 1e9 else x


@pytest.mark.parametrize(
    ("run", "count"),
    [(two_readers, 1), (weight_read, 1), (twice, 0), (norm_of_another, 1), (in_between, 1), (untraceable, 0)],
)
def test_what_is_not_a_pair_is_left(run: Callable[[Any, Tensor], Tensor], count: int) -> None:
    torch.manual_seed(0)
    net = shaken(nn.ModuleDict({"net": Net(run)}))
    x = images(16)
    expected = net["net"](x)
    assert fold_batch_norm(net) == count
    assert_same(net["net"](x), expected)


def test_a_layer_in_two_places_is_left() -> None:
    first, second = (nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)) for _ in range(2))
    second[0] = first[0]
    tied = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))
    other = nn.Conv2d(3, 3, 3)
    other.weight = tied[0].weight
    net = shaken(nn.ModuleList([first, second, tied, nn.Sequential(other)]))
    assert fold_batch_norm(net) == 0


def test_without_statistics_or_with_a_hook_nothing_is_known() -> None:
    free = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3, track_running_stats=False))
    hooked = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))
    hooked[0].register_forward_hook(lambda *_: None)
    rescaled = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 3)), nn.BatchNorm2d(3))
    assert fold_batch_norm(nn.ModuleList([free, hooked, rescaled]).eval()) == 0


def test_without_weights_of_its_own_too() -> None:
    pair = nn.Sequential(nn.Conv2d(3, 4, 3, groups=1), nn.BatchNorm2d(4, affine=False))
    pair[1].running_mean.normal_()
    net = nn.ModuleList([pair]).eval()
    expected = pair(images(16))
    assert fold_batch_norm(net) == 1
    assert_same(pair(images(16)), expected)


def test_an_opened_model_is_folded_and_its_file_is_not_touched(photos, tmp_path) -> None:
    file = untrained(small_spec(photos), ("blue", "green", "red"), tmp_path / "model.safetensors")
    before = file.read_bytes()
    model = open_model(file)
    assert norms(model.trained.method) == 0
    assert file.read_bytes() == before
