"""AP-CNN's pyramid, gates and heads beside literal float64 versions; its numbers.

ROIs and refinement: test_apcnn_rois.py; fields: test_apcnn_fields.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgvc_cli.backbones import build_backbone
from fgvc_cli.methods.apcnn.method import ApCnn
from fgvc_cli.methods.apcnn.pyramid import (
    AttentionPyramid,
    ChannelGate,
    FeaturePyramid,
    Layout,
    SpatialGate,
    attended,
    average,
    start_as_released,
)
from fgvc_cli.methods.cost import summarize
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.methods.apcnn import ApCnnSpec
from tests.methods.common import Build, images

K, SIZE = 5, 64
LABELS = torch.tensor([0, 4, 2])
LEVELS = ["p3", "p4", "p5"]
RESNET = Layout.of(ApCnnSpec(), "resnet50", 200)
VGG = Layout.of(ApCnnSpec(), "vgg16_bn", 200)


# ---------------------------------------------------------------- the paper's numbers


def test_parameters_and_multiply_adds_of_the_paper() -> None:
    two = summarize(build_spec(method="apcnn", dataset="cub"), 200)
    one = summarize(build_spec(method="apcnn", dataset="cub", sets=["method.refine=false"]), 200)
    assert two.parameters == one.parameters == 27_959_955
    assert two.multiply_adds == 31_759_378_432  # 31.7 to 31.8 G
    assert one.multiply_adds == 19_506_811_904


@pytest.mark.parametrize(
    ("backbone", "hidden"), [("resnet18", 512), ("resnet101", 512), ("vgg16", 512), ("vgg19_bn", 512)]
)
def test_other_backbones_count_without_running_out_of_maps(backbone: str, hidden: int) -> None:
    spec = build_spec(method="apcnn", dataset="cub", flags={"backbone.name": backbone})
    counted = {m.name: m.parameters for m in summarize(spec, 200).modules}
    level = 2 * 256 + 256 * hidden + hidden + 2 * hidden + hidden * 200 + 200
    assert counted["heads.p3"] == counted["heads.p5"] == level
    top = 512 if backbone.startswith("vgg") else 768
    assert counted["heads.fused"] == 2 * top + top * hidden + hidden + 2 * hidden + hidden * 200 + 200


def test_the_classifiers_hidden_layer() -> None:
    hidden = {k: Layout.of(ApCnnSpec(), "resnet50", k).hidden for k in (100, 196, 200, 1000)}
    assert hidden == {100: 256, 196: 256, 200: 512, 1000: 256}
    assert Layout.of(ApCnnSpec(), "vgg16", 100).hidden == 512
    assert Layout.of(ApCnnSpec(hidden=40), "vgg16", 100).hidden == 40


def test_what_vgg_does_otherwise() -> None:
    assert Layout(False, True, True, 512, "probabilities", (0.3, 0.4, 0.0)) == VGG
    assert Layout(True, False, False, 512, "logits", (0.3, 0.3, 0.0)) == RESNET
    assert Layout.of(ApCnnSpec(neck="fpn"), "vgg16", 200) == RESNET
    own = ApCnnSpec(neck="top_down", average="logits", drop_rates=(0, 0, 1))
    assert Layout.of(own, "resnet50", 9) == Layout(False, True, True, 512, "logits", (0, 0, 1))


# ---------------------------------------------------------------- Eq. 1 to 4 and the pyramid


def test_the_spatial_gate_equals_a_transposed_convolution_by_hand() -> None:
    torch.manual_seed(0)
    gate = SpatialGate(3).double()
    level = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    total = torch.full((2, 6, 7), gate.squeeze.bias.item(), dtype=torch.float64)
    for b in range(2):
        for c in range(3):
            for i in range(4):
                for j in range(5):  # each cell is spread over its 3×3 neighbours
                    total[b, i : i + 3, j : j + 3] += level[b, c, i, j] * gate.squeeze.weight[c, 0].detach()
    expected = 1 / (1 + torch.exp(-total[:, None, 1:-1, 1:-1]))
    torch.testing.assert_close(gate(level).double(), expected, rtol=1e-6, atol=1e-6)
    assert gate(level).dtype == torch.float32


def test_the_spatial_gate_starts_where_it_can_learn() -> None:
    """Like a convolution of as many inputs: PyTorch's own start of a transposed one grows with the channels."""
    torch.manual_seed(0)
    for channels in (32, 256):
        logits = SpatialGate(channels)(torch.randn(4, channels, 16, 16)).logit()
        assert 0.3 < float(logits.detach().std()) < 1


def test_the_released_spatial_gate_starts_saturated() -> None:
    """PyTorch's own start of it, which the released code keeps: ±1/3 whatever the channels."""
    torch.manual_seed(0)
    gate = SpatialGate(256)
    start_as_released(gate)
    logits = gate(torch.randn(4, 256, 16, 16)).double().logit()
    assert 0.3 < float(gate.squeeze.weight.detach().abs().max()) <= 1 / 3
    assert float((logits.abs() > 3).double().mean()) > 0.6


@functools.cache
def stds(start: str) -> dict[str, float]:
    """Of weights of the paper's network, by state-dict name."""
    torch.manual_seed(0)
    spec = ApCnnSpec(start=start)  # type: ignore[arg-type]
    state = ApCnn(spec, build_backbone("resnet50"), 200, 448).state_dict()
    return {name: float(value.std()) for name, value in state.items() if value.ndim > 1}


@pytest.mark.parametrize(
    ("name", "pytorch", "released"),
    [
        ("neck.top.0.weight", 0.013, 0.088),
        ("neck.top_pooled.0.weight", 0.013, 0.088),
        ("neck.laterals.1.weight", 0.018, 0.088),  # that of p4
        ("neck.smooth.0.weight", 0.012, 0.029),
        ("gates.channel.0.layers.0.weight", 0.036, 0.354),  # √(2 / 16)
        ("gates.channel.2.layers.2.weight", 0.144, 0.088),
        ("gates.spatial.0.squeeze.weight", 0.012, 0.192),  # ±1/3: PyTorch's own of a transposed convolution
        ("heads.p3.1.weight", 0.036, 0.036),
    ],
)
def test_the_two_starts_of_neck_and_gates(name: str, pytorch: float, released: float) -> None:
    """The released code's, at the paper's ResNet-50."""
    assert stds("pytorch")[name] == pytest.approx(pytorch, rel=0.05)
    assert stds("released")[name] == pytest.approx(released, rel=0.05)


def test_equal_seeds_start_equally(apcnn: Callable[..., ApCnn]) -> None:
    """Both starts draw from the default generator, and only the neck and the gates differ by them."""
    first, second, other = (apcnn(start=start).state_dict() for start in ("released", "released", "pytorch"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(first[name], other[name]) for name in first if name.startswith("backbone."))
    differ = {name.split(".")[0] for name in first if not torch.equal(first[name], other[name])}
    assert {"neck", "gates"} <= differ


def test_the_channel_gate_equals_eq_2() -> None:
    torch.manual_seed(0)
    gate = ChannelGate(6, 3).double()
    pooled = torch.randn(4, 6, dtype=torch.float64)
    first, second = gate.layers[0].requires_grad_(False), gate.layers[2].requires_grad_(False)
    assert first.weight.shape == (2, 6)
    for b in range(4):
        hidden = [max(0.0, float(w @ pooled[b] + bias)) for w, bias in zip(first.weight, first.bias, strict=True)]
        for c in range(6):
            z = float(second.bias[c]) + sum(float(second.weight[c, i]) * hidden[i] for i in range(2))
            assert float(gate(pooled)[b, c]) == pytest.approx(1 / (1 + math.exp(-z)), rel=1e-6)


@pytest.mark.parametrize("spatial", [True, False])
@pytest.mark.parametrize("channel", [True, False])
def test_pooling_the_attended_level_equals_eq_3_and_4(spatial: bool, channel: bool) -> None:
    torch.manual_seed(0)
    level = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    a_s, a_c = torch.rand(2, 1, 4, 5).double(), torch.rand(2, 3).double()
    found = attended(level.float(), level.mean((2, 3)), a_s if spatial else None, a_c if channel else None)
    for b in range(2):
        for c in range(3):
            total = 0.0
            for i in range(4):
                for j in range(5):
                    weights = [float(a_s[b, 0, i, j])] * spatial + [float(a_c[b, c])] * channel
                    total += float(level[b, c, i, j]) * (sum(weights) if weights else 1)
            assert float(found[b, c]) == pytest.approx(total / 20, rel=1e-5, abs=1e-6)


def test_gradients_of_the_gates() -> None:
    """In fp32 (gates are), so with the tolerance that fp32 differences allow."""
    torch.manual_seed(0)
    level = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    a_s = torch.rand(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    a_c = torch.rand(1, 2, dtype=torch.float64, requires_grad=True)

    def gated(level: Tensor, a_s: Tensor, a_c: Tensor) -> Tensor:
        return attended(level, level.mean((2, 3)), a_s, a_c)

    assert torch.autograd.gradcheck(gated, (level, a_s, a_c), eps=1e-2, atol=1e-3, rtol=1e-3)
    gate, pooled = ChannelGate(4, 2).double(), torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gate, (pooled,), eps=1e-3, atol=1e-3, rtol=1e-2)
    assert torch.autograd.gradcheck(SpatialGate(2).double(), (level,), eps=1e-3, atol=1e-3, rtol=1e-2)


def gates_of(levels: list[Tensor], **fields: Any) -> tuple[AttentionPyramid, list[Tensor], list[Tensor]]:
    torch.manual_seed(1)
    module = AttentionPyramid(ApCnnSpec(refine=False, reduction=1, **fields), 3, 4)
    return module, *module(levels, [level.mean((2, 3)) for level in levels])


@pytest.mark.parametrize("bottom_up", ["mean", "sum"])
def test_the_bottom_up_paths(bottom_up: str) -> None:
    torch.manual_seed(0)
    levels = [torch.randn(2, 4, n, n + 1) for n in (9, 5, 3)]
    share = 0.5 if bottom_up == "mean" else 1.0
    module, spatial, channel = gates_of(levels, bottom_up=bottom_up)
    own = [gate(level.mean((2, 3))) for gate, level in zip(module.channel, levels, strict=True)]
    second = (own[1] + own[0]) * share
    for found, expected in zip(channel, [own[0], second, (own[2] + second) * share], strict=True):
        torch.testing.assert_close(found, expected)
    free = [gate(level) for gate, level in zip(module.spatial, levels, strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(spatial, free, strict=True))
    module, spatial, channel = gates_of(levels, bottom_up=bottom_up, pathway="spatial")
    free = [gate(level) for gate, level in zip(module.spatial, levels, strict=True)]
    second = (free[1] + F.adaptive_avg_pool2d(free[0], (5, 6))) * share
    third = (free[2] + F.adaptive_avg_pool2d(second, (3, 4))) * share
    for found, expected in zip(spatial, [free[0], second, third], strict=True):
        torch.testing.assert_close(found, expected)
    assert all(torch.equal(a, gate(b.mean((2, 3)))) for a, b, gate in zip(channel, levels, module.channel, strict=True))


@pytest.mark.parametrize("layout", [RESNET, VGG])
@pytest.mark.parametrize("sizes", [[(8, 8), (4, 4), (2, 2)], [(9, 7), (5, 4), (3, 2)]])
def test_the_feature_pyramid_step_by_step(layout: Layout, sizes: list[tuple[int, int]]) -> None:
    torch.manual_seed(0)
    neck = FeaturePyramid([3, 4, 5], 6, layout).double().eval()
    maps = [torch.randn(2, c, *size, dtype=torch.float64) for c, size in zip((3, 4, 5), sizes, strict=True)]
    found = neck(maps)

    def pointwise(branch: nn.Module, x: Tensor) -> Tensor:
        weight, norm = branch[0].weight[:, :, 0, 0], branch[1]
        y = torch.einsum("oc,bchw->bohw", weight, x)
        return (y / math.sqrt(1 + norm.eps)).clamp_min(0)  # fresh statistics: mean 0, variance 1

    pooled = torch.stack([maps[2][:, c].flatten(1).sum(1) / math.prod(sizes[2]) for c in range(5)], 1)
    level = pointwise(neck.top, maps[2]) + pointwise(neck.top_pooled, pooled[:, :, None, None])
    expected = [level]
    for i in (1, 0):
        h, w = sizes[i]
        up = torch.zeros(2, 6, h, w).double()
        for y in range(h):
            for x in range(w):
                up[:, :, y, x] = level[:, :, y * level.shape[2] // h, x * level.shape[3] // w]
        if layout.lateral:
            lateral = neck.laterals[i]
            up = up + torch.einsum("oc,bchw->bohw", lateral.weight[:, :, 0, 0], maps[i]) + lateral.bias[:, None, None]
        level = up
        expected.insert(0, level)
    for smooth, level, one in zip(neck.smooth, expected, found, strict=True):
        value = F.conv2d(level, smooth.weight, smooth.bias, padding=1)
        torch.testing.assert_close(one, value.clamp_min(0) if layout.smooth_relu else value, rtol=1e-5, atol=1e-6)
    assert len(neck.laterals) == (2 if layout.lateral else 0)
    assert neck.top[1].momentum == 0.01


def test_the_two_averages() -> None:
    logits = [torch.randn(4, 3) * 5 for _ in range(3)]
    torch.testing.assert_close(average(logits, "logits"), sum(logits, torch.zeros(4, 3)) / 3)
    mean = sum((one.double().softmax(1) for one in logits), torch.zeros(4, 3).double()) / 3
    torch.testing.assert_close(average(logits, "probabilities").double().softmax(1), mean, rtol=1e-5, atol=1e-6)
    assert torch.isfinite(average([torch.tensor([[0.0, 500.0]])], "probabilities")).all()


# ---------------------------------------------------------------- branches, losses, evidence


def test_branches_and_their_averages(apcnn: Callable[..., ApCnn]) -> None:
    branches = apcnn()(images()).branches
    heads = [f"{stage}_{name}" for stage in ("raw", "refined") for name in [*LEVELS, "fused"]]
    assert list(branches) == [*heads, "raw", "refined", "final"]
    torch.testing.assert_close(branches["final"], torch.stack([branches[n] for n in heads]).mean(0))
    torch.testing.assert_close(branches["raw"], torch.stack([branches[n] for n in heads[:4]]).mean(0))
    torch.testing.assert_close(branches["final"], (branches["raw"] + branches["refined"]) / 2)


def test_losses_are_the_cross_entropies_of_all_heads(apcnn: Callable[..., ApCnn]) -> None:
    method = apcnn()
    output = method(images())
    losses = method.losses(output, LABELS)
    assert list(losses) == list(output.branches)[:8]
    for name, loss in losses.items():
        probabilities = output.branches[name].detach().double().softmax(1)
        expected = sum(-math.log(probabilities[b, LABELS[b]]) for b in range(3)) / 3
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_evidence_has_what_figure_5_needs(apcnn: Callable[..., ApCnn]) -> None:
    output = apcnn()(images(), evidence=True)
    found = output.evidence
    assert found is not None
    assert list(found.boxes) == [*LEVELS, "zoom"]
    assert [found.boxes[n].xyxy.shape[1] for n in found.boxes] == [5, 3, 1, 1]
    assert found.maps["raw_p3"].values.shape == (3, 1, 16, 16)
    assert found.maps["refined_p5_channels"].values.shape == (3, 16, 1, 1)
    assert torch.equal(found.maps["refined_p3"].frame, found.boxes["zoom"].xyxy[:, 0])
    assert set(found.heads) == {f"{stage}_{name}" for stage in ("raw", "refined") for name in LEVELS}
    gradient = torch.autograd.grad(output.branches["raw_p4"].sum(), found.heads["raw_p4"].map, retain_graph=True)
    assert gradient[0].any()  # the head's map is what the logits come from: Grad-CAM works


def test_the_probability_average_reaches_the_output(build: Build) -> None:
    method = build(ApCnnSpec(width=16, neck="top_down"), K).eval()
    branches = method(images()).branches
    heads = torch.stack([branches[n].softmax(1) for n in list(branches)[:8]])
    torch.testing.assert_close(branches["final"].softmax(1), heads.mean(0))
