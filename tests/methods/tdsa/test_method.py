"""TDSA-Loss and mutual-channel loss beside literal float64 loops (Eq. 1, 4, 6, 8, 9); every field; the evidence."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

import fgvc_cli.methods.tdsa.method as module
from fgvc_cli.backbones import build_backbone
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods import METHODS
from fgvc_cli.methods.base import Output
from fgvc_cli.methods.tdsa.levels import channels_per_class, level_names, max_over_bins, max_pool_to
from fgvc_cli.methods.tdsa.method import Mc, Tdsa
from fgvc_cli.ops.channels import ChannelGroups, channel_groups, draw_channel_mask, top_down_attention
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.tdsa import McSpec, TdsaSpec
from fgvc_cli.spec.presets import load_preset
from tests.methods import test_contract as contract
from tests.methods.common import Build, images
from tests.ops.test_channels import sizes_of

K = 5
LABELS = torch.tensor([0, 4, 2])
OWN = TdsaSpec(projection="none")


def made(build: Build, spec: MethodSpec, *args: Any, **fields: Any) -> Mc:
    method = build(spec, *args, **fields)
    assert isinstance(method, Mc)
    return method


# ---------------------------------------------------------------- Eq. 1, 4, 6, 8, 9


def literal_terms(maps: Tensor, groups: ChannelGroups, mask: list[float], labels: list[int]) -> tuple[float, float]:
    """L_dis and the mean over images of L_div, value by value."""
    discriminality = diversity = 0.0
    for image, label in zip(maps.double().flatten(2).tolist(), labels, strict=True):
        positions = range(len(image[0]))
        shares = []
        for channel in image:
            total = sum(math.exp(value) for value in channel)
            shares.append([math.exp(value) / total for value in channel])
        scores, overlaps, first = [], [], 0
        for size in sizes_of(groups):
            channels = range(first, first + size)
            first += size
            scores.append(sum(max(mask[m] * image[m][p] for m in channels) for p in positions) / len(positions))
            overlaps.append(sum(max(shares[m][p] for m in channels) for p in positions) / size)
        discriminality += math.log(sum(math.exp(score) for score in scores)) - scores[label]
        diversity += sum(overlaps) / len(overlaps)
    return discriminality / len(labels), diversity / len(labels)


@pytest.mark.parametrize(
    "spec",
    [TdsaSpec(channels_per_class=3, mu=0.7, lambda_div=4), TdsaSpec(projection="none", mu=0.7, lambda_div=4)],
    ids=["even", "uneven"],
)
def test_the_loss_equals_eq_9(build: Build, spec: TdsaSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(build, spec, 7).train()
    masks = {groups: draw_channel_mask(groups) for groups in method.groups.values()}
    monkeypatch.setattr(module, "draw_channel_mask", lambda groups, device: masks[groups])
    output = method(images())
    losses = method.losses(output, LABELS)
    assert list(losses) == ["final", "high_dis", "high_div", "middle_dis", "middle_div"]
    for name, maps in output.features.items():
        groups = method.groups[name]
        dis, div = literal_terms(maps.detach(), groups, masks[groups].tolist(), LABELS.tolist())
        assert losses[f"{name}_dis"].item() == pytest.approx(0.7 * dis, rel=1e-5)
        assert losses[f"{name}_div"].item() == pytest.approx(-0.7 * 4 * div, rel=1e-5)
    expected = F.cross_entropy(output.logits.double(), LABELS).item()
    assert losses["final"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("spec", [TdsaSpec(channels_per_class=3, xi=2), OWN], ids=["even", "uneven"])
def test_the_middle_level_is_attended_by_the_high_one(build: Build, spec: TdsaSpec) -> None:
    """Eq. 7 on the backbone's own maps; no gradient is cut."""
    method = build(spec, 7).eval()
    assert isinstance(method, Tdsa)
    method.train()
    for part in method.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.eval()
    features = method(images()).features
    maps = method.backbone(images(), ["conv4", "conv5"])
    high = maps["conv5"] if method.high_adapter is None else method.high_adapter(maps["conv5"])
    middle = maps["conv4"] if method.middle_adapter is None else method.middle_adapter(maps["conv4"])
    attended = top_down_attention(middle, high, (method.groups["middle"], method.groups["high"]))
    torch.testing.assert_close(features["middle"], attended)
    torch.testing.assert_close(features["high"], high)
    top = method.backbone.trunk.get_submodule("conv5")
    features["middle"].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in top.parameters())


def test_masks_are_drawn_anew_each_step_and_repeat_with_the_generator(build: Build) -> None:
    method = build(TdsaSpec(channels_per_class=4)).train()
    output = method(images())

    def step(seed: int | None) -> list[float]:
        if seed is not None:
            torch.manual_seed(seed)
        return [loss.item() for loss in method.losses(output, LABELS).values()]

    first, second = step(5), step(None)
    assert first != second
    assert [step(5), step(None)] == [first, second]
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, True, False, True]  # Eq. 5 has no mask


def test_evaluation_draws_nothing_and_runs_the_plain_network(build: Build) -> None:
    method = build(TdsaSpec()).eval()
    assert isinstance(method, Tdsa)
    assert method.middle_adapter is not None
    method.middle_adapter.register_forward_hook(lambda *_: pytest.fail("the loss's own layers ran"))
    state = torch.get_rng_state()
    output = method(images())
    losses = method.losses(output, LABELS)
    assert torch.equal(state, torch.get_rng_state())
    assert output.features == {}
    assert list(losses) == ["final"]


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize(
    ("own", "classes", "expected"),
    [(512, 200, 3), (512, 102, 3), (512, 86, 3), (512, 85, 7), (512, 5, 103), (160, 12, 14), (2048, 200, 11)],
)
def test_channels_per_class(own: int, classes: int, expected: int) -> None:
    assert channels_per_class(None, own, classes) == expected
    assert channels_per_class(2, own, classes) == 2


def test_the_levels(build: Build) -> None:
    names = {n: level_names(build(McSpec(), K, 64, n).backbone) for n in ("vgg16_bn", "vgg19", "resnet18", "tiny")}
    assert names["vgg16_bn"] == ("conv4_3", "conv5_3")
    assert names["vgg19"] == ("conv4_4", "conv5_4")
    assert names["resnet18"] == names["tiny"] == ("conv4", "conv5")


def test_pooling_sees_each_cell_once_where_it_can() -> None:
    maps = torch.randn(2, 3, 14, 28)
    assert torch.equal(max_pool_to(maps, 7), F.adaptive_max_pool2d(maps, 7))
    assert torch.equal(max_pool_to(maps, 1), maps.amax((2, 3), keepdim=True))
    assert torch.equal(max_pool_to(maps, 5), F.adaptive_max_pool2d(maps, 5))
    for side in (1, 3, 5, 7, 20):
        assert torch.equal(max_over_bins(maps, side), F.adaptive_max_pool2d(maps, side))


def test_the_classifier_by_hand(build: Build) -> None:
    method = made(build, TdsaSpec(channels_per_class=2, hidden=6)).eval()
    output = method(images(), evidence=True)
    assert output.evidence is not None
    norm, linear, norm2, _ = method.classifier.hidden
    pooled = output.evidence.heads["final"].map.amax((2, 3))
    hidden = F.elu(norm2(linear(norm(pooled))))
    torch.testing.assert_close(output.logits, method.classifier.output(hidden))
    torch.testing.assert_close(output.evidence.embedding, hidden.detach())


@pytest.mark.parametrize(("name", "pool"), [("vgg16_bn", 7), ("resnet18", 1), ("timm:convnext_atto", 1)])
@pytest.mark.parametrize("spec", [TdsaSpec(hidden=8, xi=1), McSpec(hidden=8), OWN], ids=["tdsa", "mc", "own"])
def test_backbones_of_every_kind(build: Build, name: str, pool: int, spec: TdsaSpec | McSpec) -> None:
    torch.manual_seed(0)
    method = made(build, spec, 3, 64, name).train()
    assert method.classifier.pool == pool
    with torch.no_grad():
        output = method(images(3, 64, 96))
        losses = method.losses(output, torch.tensor([0, 1, 2]))
    assert output.logits.shape == (3, 3)
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("classes", [2, 5, 102, 196, 1000])
def test_every_class_count(classes: int) -> None:
    """On meta: the published code could not take 5, 102, 196 or 1000."""
    for spec in (TdsaSpec(), McSpec()):
        with torch.device("meta"):
            for name in ("vgg16_bn", "resnet18", "resnet50"):
                method = METHODS[type(spec)](spec, build_backbone(name), classes, 224).train()
                output = method(torch.empty(2, 3, 64, 64))
                losses = method.losses(output, torch.zeros(2, dtype=torch.long))
                assert output.logits.shape == (2, classes)
                assert len(losses) == (5 if isinstance(spec, TdsaSpec) else 3)


# ---------------------------------------------------------------- evidence


@pytest.mark.parametrize("spec", [TdsaSpec(channels_per_class=2, xi=2), OWN], ids=["even", "uneven"])
def test_evidence_has_each_class_s_channels(build: Build, spec: TdsaSpec) -> None:
    method = made(build, spec, 7).eval()
    output = method(images(2, 64, 96), evidence=True)
    assert output.evidence is not None
    maps = output.evidence.maps
    assert list(maps) == ["final", "high", "middle"]
    for name in ("high", "middle"):
        groups, classes = method.groups[name], maps[name].classes
        assert maps[name].kind == "channels"
        assert classes is not None
        assert torch.bincount(classes).tolist() == sizes_of(groups)
        assert maps[name].values.shape[:2] == (2, groups.channels)
    shown, high = maps["final"], maps["high"]
    assert shown.classes is not None
    assert high.classes is not None
    assert torch.equal(shown.classes[:, 0], output.logits.argmax(1))
    for b in range(2):
        largest = high.values[b, high.classes == shown.classes[b, 0]].amax(0).relu()
        torch.testing.assert_close(shown.values[b, 0], largest / largest.amax().clamp_min(1e-6))


# ---------------------------------------------------------------- fields


def trained(build: Build, spec: MethodSpec, classes: int = K) -> tuple[Mc, Output]:
    method = made(build, spec, classes).train()
    return method, method(images())


def test_field_top_down(build: Build) -> None:
    with_it, without = (trained(build, TdsaSpec(top_down=on))[1].features for on in (True, False))
    assert torch.equal(with_it["high"], without["high"])
    assert (with_it["middle"] <= without["middle"]).all()
    assert (with_it["middle"] < without["middle"]).any()


@pytest.mark.parametrize("xi", [1, 2, 3, 4, 5, 7])
def test_field_xi(build: Build, xi: int) -> None:
    method, output = trained(build, TdsaSpec(xi=xi, channels_per_class=3))
    assert output.features["high"].shape[1] == 3 * K
    assert output.features["middle"].shape[1] == 3 * K * xi
    assert method.groups["middle"].runs == ((K, 3 * xi),)


def test_field_upsample(build: Build) -> None:
    kinds = [trained(build, TdsaSpec(upsample=mode))[1].features for mode in ("nearest", "bilinear", "bicubic")]
    assert all(torch.equal(kinds[0]["high"], other["high"]) for other in kinds)
    assert not torch.equal(kinds[0]["middle"], kinds[1]["middle"])
    assert not torch.equal(kinds[1]["middle"], kinds[2]["middle"])


def test_field_projection(build: Build) -> None:
    method, output = trained(build, OWN)
    assert isinstance(method, Tdsa)
    assert method.high_adapter is method.middle_adapter is None
    assert (output.features["middle"].shape[1], output.features["high"].shape[1]) == (96, 160)
    assert method.backbone.channels["conv5"] == 160
    with pytest.raises(BadRequest, match=r"96 channels of tiny cannot be divided among 97 classes; use --set"):
        build(OWN, 97)
    assert build(McSpec(projection="none"), 160).num_classes == 160
    with pytest.raises(BadRequest, match="160 channels"):
        build(McSpec(projection="none"), 161)
    with pytest.raises(ValidationError, match="needs projection learned"):
        TdsaSpec(projection="none", channels_per_class=3)


@pytest.mark.parametrize("spec", [TdsaSpec, McSpec])
def test_field_high_stride(build: Build, spec: type[TdsaSpec] | type[McSpec]) -> None:
    sizes = {s: trained(build, spec(high_stride=s))[1].features["high"].shape[2:] for s in (1, 2)}
    assert sizes == {1: (8, 8), 2: (4, 4)}
    assert made(build, spec(high_stride=1)).backbone.strides["conv5"] == 8
    assert spec().high_stride == (2 if spec is TdsaSpec else 1)
    assert made(build, spec(high_stride=1), K, 64, "vgg16_bn").backbone.strides["conv5_3"] == 16


def test_field_channels_per_class(build: Build) -> None:
    assert trained(build, TdsaSpec(channels_per_class=4))[0].groups["high"] == channel_groups(4 * K, K)
    assert trained(build, TdsaSpec())[0].groups["high"] == channel_groups(32 * K, K)


def total_of(method: Mc, output: Output) -> dict[str, float]:
    torch.manual_seed(0)
    return {name: loss.item() for name, loss in method.losses(output, LABELS).items()}


def test_fields_of_the_loss(build: Build) -> None:
    method, output = trained(build, TdsaSpec(channels_per_class=3, mu=1, lambda_div=1))
    plain = total_of(method, output)
    factors = {
        "mu": (TdsaSpec(channels_per_class=3, mu=2, lambda_div=1), {"dis": 2, "div": 2}),
        "lambda_div": (TdsaSpec(channels_per_class=3, mu=1, lambda_div=5), {"dis": 1, "div": 5}),
    }
    for spec, by in factors.values():
        found = total_of(*trained(build, spec))
        assert found["final"] == plain["final"]
        for level in ("high", "middle"):
            for term, factor in by.items():
                assert found[f"{level}_{term}"] == pytest.approx(factor * plain[f"{level}_{term}"])
    undivided = total_of(
        *trained(build, TdsaSpec(channels_per_class=3, mu=1, lambda_div=1, diversity_per_channel=False))
    )
    assert undivided["high_div"] == pytest.approx(3 * plain["high_div"])
    assert undivided["middle_div"] == pytest.approx(9 * plain["middle_div"])
    assert undivided["high_dis"] == plain["high_dis"]


def test_without_weight_a_term_is_not_computed(build: Build) -> None:
    method, output = trained(build, TdsaSpec(mu=0))
    assert isinstance(method, Tdsa)
    assert output.features == {}
    assert method.middle_adapter is None
    assert list(total_of(method, output)) == ["final"]
    method.losses(method(images()), LABELS)["final"].backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert method(images(), evidence=True).evidence is not None
    assert list(total_of(*trained(build, McSpec(lambda_div=0)))) == ["final", "high_dis"]


def test_mc_is_the_high_level_alone(build: Build) -> None:
    method, output = trained(build, McSpec())
    assert list(output.features) == ["high"]
    assert list(total_of(method, output)) == ["final", "high_dis", "high_div"]
    vgg = made(build, McSpec(), 200, 224, "vgg16_bn")
    assert (vgg.backbone.channels["conv4_3"], vgg.backbone.channels["conv5_3"]) == (600, 600)


def test_the_published_weights(build: Build) -> None:
    """MC-Loss: 1.5 · L_dis − 20 · L_div, a pair of its own. TDSA-Loss: μ = 1.5 and λ = 10 of Eq. 1 and 9."""
    for published, dis, div in ((McSpec(), 1.5, 20), (TdsaSpec(), 1.5, 15)):
        plain = type(published)(mu=1, lambda_div=1)
        one, found = (total_of(*trained(build, spec)) for spec in (plain, published))
        for name, loss in found.items():
            weight = {"final": 1, "dis": dis, "div": div}[name.rpartition("_")[2]]
            assert loss == pytest.approx(weight * one[name], rel=1e-5), name
    presets = [load_preset(f"mc-{name}").method for name in ("cub", "cars", "aircraft", "flowers", "demo", "folder")]
    assert all(isinstance(method, McSpec) for method in presets)
    assert {method.mu * method.lambda_div for method in presets} == {20}  # type: ignore[attr-defined]


# ---------------------------------------------------------------- the contract, where K = 300 is no case


@pytest.mark.parametrize("training", [True, False])
def test_own_channels_keep_the_contract(build: Build, training: bool) -> None:
    contract.test_one_graph(build, OWN, training)
    contract.test_the_work_is_batched_and_never_waits_for_a_value(build, OWN, training)
    contract.test_losses_are_finite_fp32_scalars_and_reach_every_parameter(build, OWN, training)
    contract.test_images_and_losses_of_a_batch_do_not_mix(build, OWN)
    contract.test_evidence_is_whole_and_inside_the_image(build, OWN, 48, 96)
    contract.test_export(build, OWN)
