"""The learning rate and weight decay of every parameter; what is frozen stays as it is."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from fgvc_cli.backbones import Backbone, build_backbone, freeze
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods import METHODS, build_method
from fgvc_cli.methods.base import Method
from fgvc_cli.runs.checkpoint import load_model
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.methods.tdsa import TdsaSpec
from fgvc_cli.spec.optim import OptimSpec
from fgvc_cli.spec.presets import PRESETS, load_preset
from fgvc_cli.terminal import Console
from fgvc_cli.training.optim import parameter_groups, settings
from fgvc_cli.training.train import train
from tests.conftest import small_spec
from tests.making import method_on

K, SIZE = 5, 64
every_method = pytest.mark.parametrize("spec", [spec() for spec in METHODS], ids=lambda spec: spec.name)


def by_name(method: Method, spec: OptimSpec, lr: float = 1.0) -> dict[str, tuple[float, float]]:
    """Parameter name → its learning rate and weight decay."""
    names = {id(value): name for name, value in method.named_parameters()}
    groups = parameter_groups(method, spec, lr)
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


@pytest.mark.parametrize(
    "model", ["vit_tiny_patch16_224", "convnext_atto", "tf_efficientnet_lite0", "swin_tiny_patch4_window7_224"]
)
def test_every_parameter_has_timm_s_rate_and_decay(model: str) -> None:
    import timm
    from timm.optim import param_groups_layer_decay

    theirs = timm.create_model(model, num_classes=K)
    groups = param_groups_layer_decay(
        theirs, 0.05, theirs.no_weight_decay() if hasattr(theirs, "no_weight_decay") else (), layer_decay=0.8
    )
    names = {id(value): name for name, value in theirs.named_parameters()}
    wanted = {names[id(p)]: (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}
    last = [name for name, module in theirs.named_modules() if isinstance(module, nn.Linear)][-1]
    ours = by_name(
        method_on(f"timm:{model}", BaselineSpec(pool="network")),
        OptimSpec(weight_decay=0.05, layer_decay=0.8, decay="weights"),
    )
    for name, (rate, decay) in wanted.items():
        key = name.replace(last, "classifier") if name.startswith(f"{last}.") else f"backbone.trunk.{name}"
        assert ours.pop(key) == (pytest.approx(rate), decay), name
    assert not ours


def test_a_residual_network_by_blocks() -> None:
    """Stem, eight blocks, classifier."""
    found = by_name(method_on("resnet18", BaselineSpec(pool="network")), OptimSpec(layer_decay=0.5, head_lr=10))
    rates = {name: rate for name, (rate, _) in found.items()}
    assert rates["classifier.weight"] == 10
    assert rates["backbone.trunk.layer4.1.conv2.weight"] == 0.5
    assert rates["backbone.trunk.layer4.0.downsample.0.weight"] == 0.25
    assert rates["backbone.trunk.layer1.0.bn1.bias"] == 0.5**8
    assert rates["backbone.trunk.conv1.weight"] == 0.5**9


@every_method
def test_without_the_new_fields_all_is_as_the_method_says(spec: MethodSpec) -> None:
    method = method_on("tiny", spec)
    own = method.rates()
    found = by_name(method, OptimSpec(weight_decay=0.1), lr=0.2)
    assert found == {name: (0.2 * own.get(name, 1.0), 0.1) for name, _ in method.named_parameters()}


@every_method
def test_what_is_new_learns_faster_and_both_networks_of_a_method_alike(spec: MethodSpec) -> None:
    method = method_on("tiny", spec)
    for name, (rate, _) in by_name(method, OptimSpec(head_lr=10)).items():
        inside = "backbone.trunk." in name
        fresh = any(name.split("trunk.")[-1].startswith(f"{path}.") for path in method.backbone.fresh) and inside
        assert rate == pytest.approx((1 if inside and not fresh else 10) * method.rates().get(name, 1.0))


def test_widened_layers_are_new() -> None:
    method = method_on("resnet18", TdsaSpec(), num_classes=100)
    assert method.backbone.fresh
    rates = by_name(method, OptimSpec(head_lr=10))
    for path in method.backbone.fresh:
        assert rates[f"backbone.trunk.{path}.weight"][0] == 10
    freeze(method, "all")
    trained = {name for name, value in method.backbone.named_parameters(prefix="backbone") if value.requires_grad}
    assert {name.rpartition(".")[0] for name in trained} == {f"backbone.trunk.{path}" for path in method.backbone.fresh}


@pytest.mark.parametrize("name", ["tiny", "resnet18", "vgg16_bn", "timm:convnext_atto", "timm:vit_tiny_patch16_224"])
@pytest.mark.parametrize("frozen", ["all", 2])
def test_frozen_layers_do_not_change(name: str, frozen: str | int) -> None:
    """Neither weights nor BatchNorm statistics, and no gradient is computed for them; the others do change."""
    torch.manual_seed(0)
    method = method_on(name, BaselineSpec(pool="network")).train()
    assert freeze(method, frozen)
    assert not freeze(method, frozen)
    held = {id(v) for v in method.backbone._held_parameters(method.backbone.frozen)}
    before = copy.deepcopy(method.state_dict())
    optimizer = torch.optim.SGD(parameter_groups(method, OptimSpec(), 1.0))
    method.eval().train()  # as an evaluation in between leaves it
    losses = method.losses(method(torch.randn(4, 3, SIZE, SIZE)), torch.arange(4))
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    after, parameters = method.state_dict(), dict(method.named_parameters())
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert not any(id(parameters[key]) in held for key in changed if key in parameters)
    if frozen == "all":
        assert {key.split(".")[0] for key in changed} == {"classifier"}
    assert all(value.grad is None for value in parameters.values() if id(value) in held)
    assert freeze(method, "none")
    assert all(value.requires_grad for value in method.parameters())
    assert all(module.training for module in method.modules())


def test_more_than_there_is_cannot_be_frozen() -> None:
    with pytest.raises(BadRequest, match=r"backbone.freeze: tiny has 5 maps, so 6 of them cannot be frozen"):
        freeze(build_backbone("tiny"), 6)
    with pytest.raises(BadRequest, match="runs as a whole"):
        freeze(build_backbone("timm:xception41"), 1)


def test_the_backbone_rests_in_the_first_epochs(photos: Path, tmp_path: Path) -> None:
    base = ("train.epochs=1", "train.threads=1", "backbone.frozen_epochs=1", "train.ema_decay=0.5")
    spec = small_spec(photos, "scapnet", *base)
    untouched, _ = build_method(spec, 3)
    torch.manual_seed(spec.train.seed)
    start, _ = build_method(spec, len(list(photos.iterdir())))
    train(spec, tmp_path / "rests", Console(quiet=True))
    tensors, _ = load_model(tmp_path / "rests/model.safetensors")
    trunk = {key: value for key, value in start.state_dict().items() if ".trunk." in key}
    assert all(torch.equal(tensors[key], value) for key, value in trunk.items())
    assert isinstance(untouched.backbone, Backbone)


def test_every_preset_of_a_paper_keeps_one_rate_or_its_method_s() -> None:
    for name in PRESETS:
        spec = load_preset(name)
        if name.startswith(("modern", "light", "probe")):
            continue
        assert (spec.optim.head_lr, spec.optim.layer_decay, spec.optim.decay, spec.backbone.freeze) == (
            1.0,
            None,
            "all",
            "none",
        )


def test_settings_leave_out_what_is_frozen() -> None:
    method = method_on("tiny", BaselineSpec(pool="network"))
    freeze(method, "all")
    assert set(settings(method, OptimSpec())) == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("name", ["tiny", "resnet18", "timm:tf_efficientnet_lite0"])
def test_batch_norm_may_keep_its_statistics_while_it_is_trained(name: str) -> None:
    torch.manual_seed(0)
    method = method_on(name, BaselineSpec(pool="network")).train()
    assert freeze(method, "none", norm=True)
    before = copy.deepcopy(method.state_dict())
    optimizer = torch.optim.SGD(parameter_groups(method, OptimSpec(), 1.0))
    method.eval().train()
    method.losses(method(torch.randn(4, 3, SIZE, SIZE)), torch.arange(4))["final"].backward()
    optimizer.step()
    changed = {key for key, value in method.state_dict().items() if not torch.equal(before[key], value)}
    assert not any(key.endswith(("running_mean", "running_var")) for key in changed)
    assert any("bn" in key or "norm" in key or ".1." in key for key in changed)
    assert freeze(method, "none")
    assert all(module.training for module in method.modules())
