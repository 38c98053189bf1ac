"""CLAN beside literal float64 loops (Eq. 1-9, 11-14) and with the paper's sizes. Fields: test_clan_fields.py."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fgvc_cli.backbones import build_backbone
from fgvc_cli.methods.clan import Clan, ContextAttention, SpatialAttention, resized
from fgvc_cli.spec.methods.clan import ClanSpec
from tests.methods.common import Build, images, literal_cross_entropy

LABELS = torch.tensor([0, 4, 2])


def maps(channels: int, h: int, w: int, seed: int = 0) -> Tensor:
    return torch.randn(2, channels, h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def conv1x1(conv: nn.Module, vector: Tensor) -> Tensor:
    """W·x + b of one position."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    return conv.weight[:, :, 0, 0] @ vector + conv.bias


def bilinear(x: Tensor, height: int, width: int) -> Tensor:
    """(C, h, w) → (C, height, width), half-pixel centres, the border held; cell by cell."""
    _, h, w = x.shape
    y = torch.zeros(x.shape[0], height, width, dtype=x.dtype)
    for row in range(height):
        for column in range(width):
            v = min(max((row + 0.5) * h / height - 0.5, 0), h - 1)
            u = min(max((column + 0.5) * w / width - 0.5, 0), w - 1)
            top, left = int(v), int(u)
            for r, a in ((top, 1 - (v - top)), (min(top + 1, h - 1), v - top)):
                for c, b in ((left, 1 - (u - left)), (min(left + 1, w - 1), u - left)):
                    y[:, row, column] += a * b * x[:, r, c]
    return y


# ---------------------------------------------------------------- Eq. 1-7: CLCA


def module(relation: str = "dot_product", top: int | None = 5) -> ContextAttention:
    torch.manual_seed(0)
    return ContextAttention(4, top, ClanSpec(relation=relation, zero_init=False)).double()


def literal_fusion(clca: ContextAttention, middle: Tensor, top: Tensor) -> Tensor:
    """Eq. 1 in the paper's order: the top map is upsampled first, then W_g acts."""
    fused = torch.zeros_like(middle)
    for b in range(len(middle)):
        upsampled = bilinear(top[b], *middle.shape[2:])
        for y in range(middle.shape[2]):
            for x in range(middle.shape[3]):
                local = conv1x1(clca.local, middle[b, :, y, x])
                fused[b, :, y, x] = local + conv1x1(clca.context, upsampled[:, y, x])
    return fused


@torch.no_grad()
@pytest.mark.parametrize(("h", "w"), [(6, 4), (5, 7), (3, 2)])
def test_fusion_equals_eq_1_with_w_g_after_upsampling(h: int, w: int) -> None:
    clca, middle, top = module(), maps(4, h, w), maps(5, 3, 2, seed=1)
    torch.testing.assert_close(clca.fuse(middle, top), literal_fusion(clca, middle, top))


def relation_of(kind: str, clca: ContextAttention, i: Tensor, j: Tensor) -> float:
    """f(l_i, l_j): Eq. 5, 6 or 7."""
    if kind == "gaussian":
        return math.exp(float(i @ j))
    product = float(conv1x1(clca.theta, i) @ conv1x1(clca.phi, j))
    return product if kind == "dot_product" else math.exp(product)


@torch.no_grad()
@pytest.mark.parametrize("top_channels", [5, None])
@pytest.mark.parametrize("kind", ["gaussian", "embedded_gaussian", "dot_product"])
def test_clca_equals_eq_1_to_7(kind: str, top_channels: int | None) -> None:
    """Without the top map it is the non-local block of Table 2."""
    clca, middle, top = module(kind, top_channels), maps(4, 4, 3), maps(5, 2, 2, seed=1)
    fused = middle if top_channels is None else literal_fusion(clca, middle, top)
    found = clca(middle, top)
    for b in range(2):
        fused_rows, rows = fused[b].flatten(1).T, middle[b].flatten(1).T  # (n, C_s)
        for i in range(12):
            f = [relation_of(kind, clca, fused_rows[i], fused_rows[j]) for j in range(12)]
            normaliser = 12 if kind == "dot_product" else sum(f)
            y = torch.stack([f[j] * conv1x1(clca.k, rows[j]) for j in range(12)]).sum(0) / normaliser  # Eq. 2
            expected = conv1x1(clca.y, y) + rows[i]  # Eq. 3
            torch.testing.assert_close(found[b].flatten(1)[:, i], expected)


def test_clca_gradients() -> None:
    for kind in ("gaussian", "embedded_gaussian", "dot_product"):
        inputs = (maps(4, 3, 2).requires_grad_(), maps(5, 2, 1, seed=1).requires_grad_())
        assert torch.autograd.gradcheck(module(kind), inputs)


def test_clca_starts_as_the_identity() -> None:
    clca, middle = ContextAttention(4, 5, ClanSpec()).double(), maps(4, 4, 4)
    assert torch.equal(clca(middle, maps(5, 2, 2)), middle)
    assert not torch.equal(module()(middle, maps(5, 2, 2)), middle)


# ---------------------------------------------------------------- Eq. 8-11: CLSA


@torch.no_grad()
@pytest.mark.parametrize("pool", ["avg", "max", "both"])
@pytest.mark.parametrize("gate", ["sigmoid", "none"])
def test_the_attention_map_equals_eq_8(pool: str, gate: str) -> None:
    torch.manual_seed(0)
    attend = SpatialAttention(ClanSpec(spatial_pool=pool, attention=gate)).double()
    middle = maps(3, 4, 5)
    found = attend(middle)
    assert found.shape == (2, 1, 4, 5)
    for b in range(2):
        for y in range(4):
            for x in range(5):
                value = float(attend.conv.bias)
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if not (0 <= y + dy < 4 and 0 <= x + dx < 5):
                            continue
                        vector = middle[b, :, y + dy, x + dx].tolist()
                        mean, largest = sum(vector) / 3, max(vector)
                        pooled = {"avg": [mean], "max": [largest], "both": [mean, largest]}[pool]
                        for channel, number in enumerate(pooled):
                            value += float(attend.conv.weight[0, channel, dy + 1, dx + 1]) * number
                expected = 1 / (1 + math.exp(-value)) if gate == "sigmoid" else value
                assert found[b, 0, y, x].item() == pytest.approx(expected, rel=1e-12)


@torch.no_grad()
def test_the_attended_map_equals_eq_9_and_11(build: Build) -> None:
    method = build(ClanSpec(scales=3))
    assert isinstance(method, Clan)
    top = maps(2, 2, 3)
    attention = {"part": maps(1, 4, 6, seed=1), "attr": maps(1, 8, 12, seed=2)}
    found = method.attended(top, attention)
    assert found.shape == (2, 4, 2, 3)
    for b in range(2):
        for number, branch in enumerate(("attr", "part")):  # s = 1 is nearest to the image: conv4_3
            cell = attention[branch].shape[2] // 2
            for y in range(2):
                for x in range(3):
                    seen = attention[branch][b, 0, y * cell : (y + 1) * cell, x * cell : (x + 1) * cell]
                    mean = sum(seen.flatten().tolist()) / cell**2  # R
                    for c in range(2):
                        assert found[b, 2 * number + c, y, x].item() == pytest.approx(mean * top[b, c, y, x].item())


@torch.no_grad()
def test_bilinear_downsampling(build: Build) -> None:
    method = build(ClanSpec(downsample="bilinear"))
    assert isinstance(method, Clan)
    top, attention = maps(2, 2, 3), maps(1, 5, 7, seed=1)
    expected = torch.stack([bilinear(attention[b], 2, 3) for b in range(2)]) * top
    torch.testing.assert_close(method.attended(top, {"part": attention}), expected)


def test_resizing_leaves_a_map_of_that_size_alone() -> None:
    x = maps(3, 4, 5)
    assert resized(x, maps(1, 4, 5)) is x
    assert resized(x, maps(1, 8, 5)).shape == (2, 3, 8, 5)


# ---------------------------------------------------------------- Eq. 12-14: loss and prediction


def test_the_loss_equals_eq_12_to_14(build: Build) -> None:
    method = build(ClanSpec(scales=3, lambda_middle=0.5, lambda_global=2, lambda_clsa=3))
    output = method(images())
    losses = method.losses(output, LABELS)
    weights = {"global": 2, "part": 0.5, "attr": 0.5, "clsa": 3}
    assert list(losses) == list(weights)
    for name, loss in losses.items():
        expected = weights[name] * literal_cross_entropy(output.branches[name], LABELS)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scales", [2, 3])
@pytest.mark.parametrize("clsa", [True, False])
def test_every_branch_and_sum_of_table_4(build: Build, scales: int, clsa: bool) -> None:
    method = build(ClanSpec(scales=scales, clsa=clsa)).eval()
    output = method(images(), evidence=True)
    single = ["global", "part", *(["attr"] if scales == 3 else []), *(["clsa"] if clsa else [])]
    sums = {"g_p": 2, "g_p_a": 3, "final": len(single)}
    sums = {n: c for n, c in sums.items() if n == "final" or (c < len(single) and (n == "g_p" or scales == 3))}
    assert list(output.branches) == [*single, *sums]
    for name, count in sums.items():
        for b in range(3):
            for k in range(5):
                mean = sum(output.branches[s][b, k].item() for s in single[:count]) / count
                assert output.branches[name][b, k].item() == pytest.approx(mean, abs=1e-6)
    assert output.logits is output.branches["final"]
    assert output.evidence is not None
    for name, head in output.evidence.heads.items():  # a branch is a linear layer on the mean of its map
        assert head.weight is not None
        pooled = torch.stack([head.map[:, :, y, x] for y, x in cells(head.map)]).mean(0)
        bias = method.get_submodule(f"classifiers.{name}_head").bias
        torch.testing.assert_close(pooled @ head.weight.T + bias, output.branches[name])
    assert list(output.evidence.heads) == single


def cells(x: Tensor) -> list[tuple[int, int]]:
    return [(row, column) for row in range(x.shape[2]) for column in range(x.shape[3])]


# ---------------------------------------------------------------- the paper's numbers


def vgg(scales: int) -> Clan:
    with torch.device("meta"):
        return Clan(ClanSpec(scales=scales), build_backbone("vgg16_bn"), 200, 448).eval()


def everything_counted(method: nn.Module, run: Callable[[], object]) -> float:
    """G multiply-adds as Table 5 has them: layers with bias, BN, ReLU and pooling, but no matrix product."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d | nn.Linear):
            total += output.numel() * (layer.weight[0].numel() + 1)
        elif isinstance(layer, nn.BatchNorm2d):
            total += 2 * output.numel()
        elif isinstance(layer, nn.ReLU):
            total += output.numel()
        elif isinstance(layer, nn.MaxPool2d):
            total += 4 * output.numel()

    handles = [layer.register_forward_hook(count) for layer in method.modules()]
    run()
    for handle in handles:
        handle.remove()
    return total / 1e9


@pytest.mark.parametrize(
    ("scales", "parameters", "published", "flops"),
    [(2, 16_081_835, 62.30, 62.158), (3, 17_337_734, 64.83, 65.086)],
)
def test_counts_on_vgg16_bn(scales: int, parameters: int, published: float, flops: float) -> None:
    """Table 5. `flops` is PyTorch's own count of convolutions and matrix products, the relation among them."""
    method = vgg(scales)
    assert sum(p.numel() for p in method.parameters()) == parameters
    batch = torch.empty(1, 3, 448, 448, device="meta")
    with torch.no_grad():
        assert everything_counted(method, lambda: method(batch)) == pytest.approx(published, abs=0.01)
        with FlopCounterMode(display=False) as counter:
            output = method(batch, evidence=True)
    assert counter.get_total_flops() / 2e9 == pytest.approx(flops, abs=1e-3)
    assert output.evidence is not None
    shapes = {name: tuple(head.map.shape[1:]) for name, head in output.evidence.heads.items()}
    expected = {"global": (512, 14, 14), "part": (512, 28, 28), "attr": (512, 56, 56)}
    clsa = {"clsa": (512 * (scales - 1), 14, 14)}
    assert shapes == {name: shape for name, shape in expected.items() if scales == 3 or name != "attr"} | clsa


def test_the_backbone_with_three_classifiers_is_the_papers_vgg() -> None:
    """Table 5 gives 15.03 M for "VGG-16": the features and three linear layers of 200 classes."""
    features = sum(p.numel() for p in build_backbone("vgg16_bn").parameters())
    assert features + 3 * 513 * 200 == 15_030_936


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_resnets_read_conv4(name: str) -> None:
    with torch.device("meta"):
        method = Clan(ClanSpec(), build_backbone(name), 200, 448).eval()
        output = method(torch.empty(2, 3, 448, 448), evidence=True)
    assert method.taps == {"part": "conv4"}
    assert output.evidence is not None
    assert output.evidence.heads["part"].map.shape == (2, 1024, 28, 28)
    assert output.evidence.heads["global"].map.shape == (2, 2048, 14, 14)
    clca = method.context["part"]
    own = 1024**2 + 1024 * 2048 + 2 * 1024 + 3 * (512 * 1024 + 512) + 512 * 1024 + 1024
    assert sum(p.numel() for p in clca.parameters()) == own


def test_the_whole_model_makes_no_matrix_of_positions(build: Build) -> None:
    """At 112×80 the middle maps have 14·10 and 28·20 positions."""
    method = build(ClanSpec(scales=3)).train()
    batch, kept = images(2, 112, 80), []

    def keep(value: Tensor) -> Tensor:
        kept.append(tuple(value.shape))
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        output = method(batch)
        torch.stack(list(method.losses(output, LABELS[:2]).values())).sum().backward()
    assert any(140 in shape for shape in kept)
    assert not any(shape.count(n) > 1 for shape in kept for n in (140, 560))


def test_labels_never_reach_the_forward_pass_and_images_move_every_branch(build: Build) -> None:
    method = build(ClanSpec(scales=3, zero_init=False)).eval()
    first, second = method(images()).branches, method(images().flip(3)).branches
    assert not any(torch.equal(first[name], second[name]) for name in first)
    assert all(F.softmax(value, 1).isfinite().all() for value in first.values())
