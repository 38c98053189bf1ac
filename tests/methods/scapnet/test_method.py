"""SCAPNet beside literal float64 loops: Eq. 1 to 16, and the paper's numbers. Parts and fields: the other two files."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgvc_cli.backbones import Backbone
from fgvc_cli.methods.cost import summarize
from fgvc_cli.methods.parts import mean_probability
from fgvc_cli.methods.scapnet.gate import LocationModule, activation_loss, consistency_loss, estimated_scores
from fgvc_cli.methods.scapnet.method import Attention, ScapNet, masked
from fgvc_cli.methods.scapnet.relation import PartGraph, PartRelation
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.methods.scapnet import ScapNetSpec
from tests.methods.common import Build, fit, images, literal_cross_entropy

K, SIZE = 5, 64
LABELS = torch.tensor([0, 4, 2])


def scapnet(build: Build, image_size: int = SIZE, **fields: Any) -> ScapNet:
    method = build(ScapNetSpec(**fields), K, image_size)
    assert isinstance(method, ScapNet)
    return method.eval()


# ---------------------------------------------------------------- Eq. 1, 2, 4: the gate


def literal_linear(layer: nn.Linear, x: list[float]) -> list[float]:
    rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [sum(w * v for w, v in zip(row, x, strict=True)) + bias for row, bias in rows]


def test_the_score_equals_eq_4() -> None:
    torch.manual_seed(0)
    location, pooled = LocationModule(6, 4).double(), torch.randn(2, 3, 6).double()
    found = location(pooled)
    for b in range(2):
        for n in range(3):
            hidden = [max(0.0, value) for value in literal_linear(location.w1, pooled[b, n].tolist())]
            s = literal_linear(location.w2, hidden)
            total = math.exp(s[0]) + math.exp(s[1])
            assert found[b, n].tolist() == pytest.approx([math.log(math.exp(v) / total) for v in s])
    pooled.requires_grad_()
    assert torch.autograd.gradcheck(location, pooled)


def test_the_mask_multiplies_the_cells_of_the_map() -> None:
    middle, mask = torch.randn(2, 3, 7, 5), (torch.rand(2, 3, 2) < 0.5).float()
    found = masked(middle, Attention([], mask))
    for y in range(7):
        for x in range(5):
            expected = middle[:, :, y, x] * mask[:, y * 3 // 7, x * 2 // 5][:, None]
            assert torch.equal(found[:, :, y, x], expected)


def test_l_act_equals_eq_2() -> None:
    mask = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).double()
    assert activation_loss(mask).tolist() == [0.25, 0, 1]
    mask = torch.rand(3, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(activation_loss, mask)


def test_the_gate_trains_through_the_classification(build: Build) -> None:
    """Eq. 6: L_cls alone moves the location module, although the mask is 0 or 1."""
    method = scapnet(build).train()
    output = method(images())
    assert set(output.features["mask"].unique().tolist()) <= {0.0, 1.0}
    method.losses(output, LABELS)["cls"].backward()
    assert method.location is not None
    assert all(p.grad is not None and p.grad.any() for p in method.location.parameters())


# ---------------------------------------------------------------- Eq. 7, 8: the consistent order


@pytest.mark.parametrize(("rows", "columns", "u"), [(4, 4, 2), (4, 4, 3), (3, 5, 2), (2, 2, 2)])
def test_the_estimate_equals_eq_7(rows: int, columns: int, u: int) -> None:
    scores = torch.rand(2, rows, columns).double()
    found, n = estimated_scores(scores, u), 0
    for i in range(rows - u + 1):
        for j in range(columns - u + 1):
            inside = [scores[:, i + a, j + b] for a in range(u) for b in range(u)]
            torch.testing.assert_close(found[:, n], sum(inside) / u**2)
            n += 1
    assert n == found.shape[1]


def literal_consistency(estimated: list[float], scores: list[float]) -> float:
    total = 0.0
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            sign = (scores[i] > scores[j]) - (scores[i] < scores[j])
            total += max(0.1 - (estimated[i] - estimated[j]) * sign, 0)
    return total


def test_l_con_equals_eq_8() -> None:
    torch.manual_seed(0)
    estimated, scores = torch.rand(4, 9).double(), torch.rand(4, 9).double()
    scores[1, 3] = scores[1, 7]  # a tie
    scores[3] = 0.5
    found = consistency_loss(estimated, scores)
    for b in range(4):
        assert float(found[b]) == pytest.approx(literal_consistency(estimated[b].tolist(), scores[b].tolist()))
    assert float(found[3]) == pytest.approx(36 * 0.1)  # nothing but ties


def test_l_con_by_hand() -> None:
    """In order with a wide gap: 0; in order with a gap of 0.04: 0.06; the wrong way by 0.5: 0.6."""
    scores = torch.tensor([[0.9, 0.1]] * 3)
    estimated = torch.tensor([[0.8, 0.2], [0.54, 0.5], [0.2, 0.7]])
    torch.testing.assert_close(consistency_loss(estimated, scores), torch.tensor([0.0, 0.06, 0.6]))


def test_only_the_order_of_the_larger_scale_counts() -> None:
    estimated, scores = (torch.rand(2, 9, dtype=torch.float64, requires_grad=True) for _ in range(2))
    consistency_loss(estimated, scores).sum().backward()
    assert estimated.grad is not None
    assert scores.grad is None
    assert torch.autograd.gradcheck(lambda x: consistency_loss(x, scores.detach()), estimated)


# ---------------------------------------------------------------- Eq. 9 to 13 and 16: the parts' relation


def parts_of(batch: int = 2, count: int = 4, channels: int = 7) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    corner = torch.rand(batch, count, 2).double() * 40
    boxes = torch.cat([corner, corner + 8 + 20 * torch.rand(batch, count, 2).double()], 2)
    boxes[:, -1] = boxes[:, 0]  # two parts at the same place
    return torch.randn(batch, count, channels).double(), boxes


def literal_place(box_m: list[float], box_n: list[float], weight: Tensor) -> float:
    """ω_P of Eq. 10 of one pair and head."""
    (a1, b1, a2, b2), (c1, d1, c2, d2) = box_m, box_n
    dx, dy = abs((a1 + a2 - c1 - c2) / 2), abs((b1 + b2 - d1 - d2) / 2)
    far = [math.log(max(dx / (a2 - a1), 1e-3)), math.log(max(dy / (b2 - b1), 1e-3))]
    g = [*far, math.log((c2 - c1) / (a2 - a1)), math.log((d2 - d1) / (b2 - b1))]
    angles = [100 * value / 1000 ** (i / 8) for value in g for i in range(8)]
    code = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    return max(0.0, sum(float(w) * c for w, c in zip(weight, code, strict=True)))


def literal_relation(relation: PartRelation, f: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """f̂ (R, D) and ω (heads, R, R) of one image."""
    R, D = f.shape
    d_k = relation.key_size
    weights = torch.zeros(relation.heads, R, R).double()
    related = torch.zeros(R, D).double()
    widths = [D // relation.heads + (i < D % relation.heads) for i in range(relation.heads)]
    ends = [sum(widths[: i + 1]) for i in range(relation.heads)]
    for head in range(relation.heads):
        raw = torch.zeros(R, R).double()
        for m in range(R):
            for n in range(R):
                value = 1.0
                if relation.geometry:
                    place = relation.place.weight[head].detach()
                    value *= max(literal_place(boxes[m].tolist(), boxes[n].tolist(), place), 1e-6)
                if relation.appearance:
                    key = relation.key.weight[head * d_k : (head + 1) * d_k] @ f[m]
                    query = relation.query.weight[head * d_k : (head + 1) * d_k] @ f[n]
                    value *= math.exp(float(key @ query) / math.sqrt(d_k))
                raw[m, n] = value
        weights[head] = raw / raw.sum(0)
        channels = slice(ends[head] - widths[head], ends[head])
        for n in range(R):
            for m in range(R):
                related[n, channels] += weights[head, m, n] * (relation.value.weight[channels] @ f[m])
    return f + related, weights


@pytest.mark.parametrize("kind", [{}, {"appearance": False}, {"geometry": False}], ids=["both", "place", "looks"])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_relation_equals_eq_9_to_13_and_16(kind: dict[str, bool], heads: int, count: int) -> None:
    relation, (f, boxes) = PartRelation(7, heads, 5, **kind).double(), parts_of(count=count)
    with torch.no_grad():
        fused, weights = relation(f, boxes)
        for b in range(2):
            expected, expected_weights = literal_relation(relation, f[b], boxes[b])
            torch.testing.assert_close(weights[b], expected_weights)
            torch.testing.assert_close(fused[b], expected)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, heads, count).double())


def test_gradcheck_of_the_relation() -> None:
    relation, (f, boxes) = PartRelation(7, 2, 5).double(), parts_of()
    f.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: relation(x, boxes)[0], f)
    with torch.no_grad():
        relation.place.weight.abs_()
    inputs = tuple(relation.parameters())
    assert torch.autograd.gradcheck(lambda *_: relation(f.detach(), boxes)[0], inputs)


def test_where_no_place_speaks_looks_decide() -> None:
    """ω_P of 0 everywhere leaves the softmax of ω_F, not a division by 0."""
    relation, (f, boxes) = PartRelation(7, 1, 5).double(), parts_of()
    with torch.no_grad():
        relation.place.weight.zero_()
        expected = relation.appearance_logits(f).softmax(2)
        torch.testing.assert_close(relation.weights(f, boxes), expected)


def test_the_graph_equals_the_literal_loop() -> None:
    graph, (f, boxes) = PartGraph(7).double(), parts_of()
    with torch.no_grad():
        fused, adjacency = graph(f, boxes)
        for b in range(2):
            A = torch.zeros(4, 4).double()
            for m, (a1, b1, a2, b2) in enumerate(boxes[b].tolist()):
                for n, (c1, d1, c2, d2) in enumerate(boxes[b].tolist()):
                    both = max(0.0, min(a2, c2) - max(a1, c1)) * max(0.0, min(b2, d2) - max(b1, d1))
                    A[m, n] = both / ((a2 - a1) * (b2 - b1) + (c2 - c1) * (d2 - d1) - both)
            D = torch.diag(A.sum(1) ** -0.5)
            torch.testing.assert_close(adjacency[b, 0], D @ A @ D)
            torch.testing.assert_close(fused[b], f[b] + (D @ A @ D @ f[b] @ graph.weight.weight.T).relu())


# ---------------------------------------------------------------- Eq. 3, 14, 15: the loss; the final mean


def test_the_loss_equals_eq_15(build: Build) -> None:
    weights = {"cls": 0.5, "act": 2, "con": 3, "sub": 0.25}
    method = scapnet(build, **{f"weight_{name}": weight for name, weight in weights.items()})
    with torch.no_grad():
        output = method(images(), evidence=True)
        losses = method.losses(output, LABELS)
        parts, mask = output.features["parts"], output.features["mask"]
    keep = [output.features[f"keep{u}"] for u in (1, 2, 3)]
    con = 0.0
    for u in (2, 3):
        estimated, scores = estimated_scores(keep[0], u).tolist(), keep[u - 1].flatten(1).tolist()
        con += sum(literal_consistency(estimated[b], scores[b]) for b in range(3)) / 3
    expected = {
        "cls": literal_cross_entropy(output.branches["master"], LABELS),
        "act": sum((float(mask[b].sum()) / 16) ** 2 for b in range(3)) / 3,
        "con": con,
        "sub": literal_cross_entropy(sum(parts[:, i] for i in range(6)) / 6, LABELS)
        + sum(literal_cross_entropy(parts[:, i], LABELS) for i in range(6)),
    }
    assert list(losses) == list(expected)
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(weights[name] * expected[name], rel=1e-5), name


def test_the_final_prediction_is_the_mean_of_two_probabilities(build: Build) -> None:
    output = scapnet(build)(images())
    assert list(output.branches) == ["master", "sub", "final"]
    probabilities = (output.branches["master"].softmax(1) + output.branches["sub"].softmax(1)) / 2
    torch.testing.assert_close(output.logits.softmax(1), probabilities)
    torch.testing.assert_close(output.logits.exp(), probabilities)
    torch.testing.assert_close(output.branches["sub"], output.features["parts"].mean(1))
    large = torch.tensor([[100.0, -100.0]])
    torch.testing.assert_close(mean_probability([large, -large]).exp(), torch.tensor([[0.5, 0.5]]))


# ---------------------------------------------------------------- the paper's numbers


def counted(*sets: str, dataset: str = "cub") -> dict[str, tuple[int, int]]:
    found = summarize(build_spec(method="scapnet", dataset=dataset, sets=sets), 200)
    modules = {module.name: (module.parameters, module.multiply_adds) for module in found.modules}
    return modules | {"total": (found.parameters, found.multiply_adds)}


def test_parameters_and_multiply_adds_of_the_paper() -> None:
    """Location module 0.02 M (Table III); master one backbone at 448, sub-network six at 224, one and a half."""
    found = counted()
    backbone, head = 23_508_032, 2049 * 200
    assert found["location"] == (16_434, 29 * 16 * 1026)  # 16 + 9 + 4 windows
    assert found["backbone"] == (backbone, 4 * 4_087_136_256)
    assert found["sub_backbone"] == (backbone, 6 * 4_087_136_256)
    assert 2 * found["sub_backbone"][1] == 3 * found["backbone"][1]
    assert found["classifier"] == (head, 2048 * 200)
    assert found["sub_classifier"] == (head, 6 * 2048 * 200)
    projections = 2 * 64 * 2048 + 2048 * 2048
    assert found["relation"] == (projections + 64, 6 * projections + 36 * 64)
    assert found["total"][0] == 2 * (backbone + head) + 16_434 + projections + 64 == 52_308_610
    assert found["total"][1] / found["backbone"][1] == pytest.approx(2.50, abs=0.005)


def test_heads_cost_keys_and_places_but_no_values() -> None:
    one, three = counted()["relation"][0], counted("method.heads=3")["relation"][0]
    assert three - one == 2 * (2 * 64 * 2048 + 64)


def test_the_gate_alone_costs_next_to_nothing() -> None:
    found = counted("method.parts=off")
    assert found["total"][0] == 23_508_032 + 2049 * 200 + 16_434
    assert found["total"][1] - found["backbone"][1] == 16 * 16 * 1026 + 2048 * 200


def test_shapes_of_the_paper(build: Build) -> None:
    """gGAU on 1024×28×28, parts of 224 pixels, f_F of 2048."""
    method = build(ScapNetSpec(), 200, 448, "resnet50").to("meta")
    assert isinstance(method, ScapNet)
    seen: list[Tensor] = []
    assert method.sub_backbone is not None
    method.sub_backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        output = method(torch.empty(2, 3, 448, 448, device="meta"), evidence=True)
    assert method.tap == "conv4"
    assert method.backbone.channels["conv4"] == 1024
    assert [crops.shape for crops in seen] == [(12, 3, 224, 224)]  # one flat batch of all parts of all images
    assert output.evidence is not None
    assert output.evidence.grids["mask"].values.shape == (2, 4, 4)
    assert {name: boxes.scores.shape[1] for name, boxes in output.evidence.boxes.items()} == {
        "scale1": 3,
        "scale2": 2,
        "scale3": 1,
    }
    assert output.evidence.embedding is not None
    assert output.evidence.embedding.shape == (2, 4096)


def test_vgg_is_gated_after_pool4(build: Build) -> None:
    method = build(ScapNetSpec(), K, 64, "vgg16").eval()
    assert isinstance(method, ScapNet)
    assert method.tap == "pool4"
    assert F.softmax(method(images(2)).logits, 1).isfinite().all()


def test_resnets_and_unequal_networks(build: Build) -> None:
    method = build(ScapNetSpec(), K, 64, "resnet18").eval()
    assert isinstance(method, ScapNet)
    assert isinstance(method.sub_backbone, Backbone)
    theirs = method.sub_backbone.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in method.backbone.state_dict().items())
    storages = [p.data_ptr() for p in method.parameters()]
    assert len(storages) == len(set(storages))
    assert method(images(2)).logits.shape == (2, K)


def test_a_few_steps_fit_a_batch(build: Build) -> None:
    method = build(ScapNetSpec(), 3, 64).train()
    batch, labels = images(6), torch.tensor([0, 1, 2, 0, 1, 2])
    fit(method, batch, labels, 15)
    assert (method(batch).logits.argmax(1) == labels).all()
