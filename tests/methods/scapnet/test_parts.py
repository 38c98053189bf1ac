"""Which parts SCAPNet takes and where; its edge cases; every field changes what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from fgvc_cli.errors import BadRequest
from fgvc_cli.methods.base import Evidence, Method, Output
from fgvc_cli.methods.scapnet.method import Attention, ScapNet, top_windows
from fgvc_cli.ops.crops import crop_and_resize
from fgvc_cli.ops.gumbel import gumbel_noise
from fgvc_cli.spec.methods.scapnet import ScapNetSpec
from tests.methods.common import images

Make = Callable[..., ScapNet]
K, SIZE = 5, 64


@pytest.fixture(scope="module")
def make(build: Callable[..., Method]) -> Make:
    """A small SCAPNet in evaluation mode: (num_classes=5, image_size=64, **fields of its spec)."""

    def made(num_classes: int = K, image_size: int = SIZE, **fields: Any) -> ScapNet:
        method = build(ScapNetSpec(**fields), num_classes, image_size)
        assert isinstance(method, ScapNet)
        return method.eval()

    return made


def seen(method: ScapNet, batch: Tensor) -> Evidence:
    with torch.no_grad():
        found = method(batch, evidence=True).evidence
    assert found is not None
    return found


def attention_of(keep: Tensor) -> Attention:
    """One scale of cells with these probabilities of being kept, (B, rows, columns)."""
    return Attention([torch.stack([1 - keep, keep], -1).log()], None)


def losses(method: ScapNet, output: Output) -> dict[str, float]:
    return {name: float(loss.detach()) for name, loss in method.losses(output, torch.tensor([0, 4, 2])).items()}


# ---------------------------------------------------------------- the selection


def test_the_best_windows_come_first_and_of_equal_ones_the_first() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.9], [0.3, 0.3, 0.3, 0.3]])
    assert top_windows(scores, 3).tolist() == [[1, 3, 2], [0, 1, 2]]
    silent = torch.stack([torch.zeros(4), torch.full((4,), 0.7), torch.full((4,), torch.nan)])
    assert top_windows(silent, 3).tolist() == [[0, 1, 2]] * 3


def test_parts_equal_the_literal_ranking_of_each_scale(make: Make) -> None:
    method = make()
    output = method(images(), evidence=True)
    found = output.evidence
    assert found is not None
    for u, count in ((1, 3), (2, 2), (3, 1)):
        keep = output.features[f"keep{u}"].detach()
        assert keep.shape == (3, 5 - u, 5 - u)
        for b in range(3):
            windows = [(float(keep[b, i, j]), i, j) for i in range(5 - u) for j in range(5 - u)]
            ranked = sorted(windows, key=lambda w: -w[0])[:count]
            boxes = found.boxes[f"scale{u}"]
            assert boxes.scores[b].tolist() == [score for score, _, _ in ranked]
            assert boxes.xyxy[b].tolist() == [[16 * j, 16 * i, 16 * (j + u), 16 * (i + u)] for _, i, j in ranked]
    assert torch.equal(found.grids["keep"].values, output.features["keep1"])
    assert torch.equal(found.grids["mask"].values, output.features["mask"])


@pytest.mark.parametrize(("height", "width", "part"), [(64, 64, (32, 32)), (96, 160, (48, 80)), (48, 40, (32, 32))])
def test_the_parts_are_cropped_from_the_image(make: Make, height: int, width: int, part: tuple[int, int]) -> None:
    method, batch = make(), images(3, height, width)
    inputs: list[Tensor] = []
    assert method.sub_backbone is not None
    method.sub_backbone.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    found = seen(method, batch)
    boxes = torch.cat([found.boxes[f"scale{u}"].xyxy for u in (1, 2, 3)], 1)
    assert len(inputs) == 1
    assert torch.equal(inputs[0], crop_and_resize(batch, boxes, part).flatten(0, 1))


def test_cells_are_pooled_in_fp32_whatever_autocast_does(make: Make) -> None:
    method = make()
    pooled: list[Tensor] = []
    assert method.location is not None
    method.location.register_forward_pre_hook(lambda _, args: pooled.append(args[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = seen(method, images())
    assert pooled[0].dtype == found.grids["keep"].values.dtype == torch.float32
    assert not torch.equal(pooled[0], pooled[0].bfloat16().float())


def test_no_gradient_passes_through_the_selection(make: Make) -> None:
    """L_sub moves the sub-network alone."""
    method = make().train()
    method.losses(method(images()), torch.tensor([0, 4, 2]))["sub"].backward()
    moved = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None}
    assert moved == {"sub_backbone", "relation", "sub_classifier"}


def test_relations_are_told_among_all_parts(make: Make) -> None:
    relations = seen(make(heads=2), images()).relations
    assert list(relations) == ["head1", "head2"]
    for relation in relations.values():
        assert not relation.requires_grad
        torch.testing.assert_close(relation.sum(1), torch.ones(3, 6))  # what part n takes of all parts m


# ---------------------------------------------------------------- edge cases


def test_a_gate_map_that_is_constant(make: Make) -> None:
    """All cells are alike: the first ones are the parts, and a gate that keeps none keeps the first cell."""
    method = make()
    assert method.location is not None
    with torch.no_grad():
        method.location.w2.weight.zero_()
        method.location.w2.bias.copy_(torch.tensor([1.0, -1.0]))
    found = seen(method, images())
    mask = found.grids["mask"].values
    assert mask.flatten(1).tolist() == [[1, *[0] * 15]] * 3
    assert found.boxes["scale1"].xyxy[0].tolist() == [[0, 0, 16, 16], [16, 0, 32, 16], [32, 0, 48, 16]]
    assert all(torch.isfinite(loss) for loss in method.losses(method(images()), torch.tensor([0, 4, 2])).values())


def test_an_empty_mask_keeps_its_best_cell_in_evaluation_only(make: Make) -> None:
    method = make(gumbel=False)
    keep = torch.full((2, 4, 4), 0.2)
    keep[0, 2, 1], keep[1, 0, 3] = 0.4, 0.3
    (log_probs,) = attention_of(keep).log_probs
    mask = method._gate(log_probs)
    assert mask is not None
    assert mask.nonzero().tolist() == [[0, 2, 1], [1, 0, 3]]
    empty = method.train()._gate(log_probs)
    assert empty is not None
    assert not empty.any()


def test_an_image_without_any_cell_still_trains(make: Make) -> None:
    method = make(gumbel=False).train()
    assert method.location is not None
    with torch.no_grad():
        method.location.w2.bias.copy_(torch.tensor([50.0, -50.0]))
    output = method(images())
    assert not output.features["mask"].any()
    sum(method.losses(output, torch.tensor([0, 4, 2])).values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


@pytest.mark.parametrize("relation", ["none", "concatenate", "gcn", "appearance", "geometry", "both"])
def test_one_part(make: Make, relation: str) -> None:
    for fields in ({"parts": (1,)}, {"grid": 1}, {"parts": (0, 0, 1)}):
        method = make(relation=relation, **fields)
        found = seen(method, images())
        assert sum(boxes.scores.shape[1] for boxes in found.boxes.values()) == 1
        assert all(torch.equal(weights, torch.ones(3, 1, 1)) for weights in found.relations.values())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("classes", [2, 1000])
def test_few_and_many_classes(make: Make, classes: int, training: bool) -> None:
    method = make(num_classes=classes).train(training)
    output = method(images(2))
    labels = torch.tensor([0, classes - 1])
    assert output.logits.shape == (2, classes)
    assert all(torch.isfinite(loss) for loss in method.losses(output, labels).values())


def test_a_batch_of_one(make: Make) -> None:
    method = make()
    together, alone = method(images()).branches, method(images()[:1]).branches
    for name in together:
        torch.testing.assert_close(alone[name], together[name][:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("grid", "image_size"), [(3, 64), (5, 64), (3, 56), (5, 56), (7, 72)])
def test_grids_that_do_not_divide_the_map(make: Make, grid: int, image_size: int) -> None:
    """Maps of 8, 7 and 9 positions."""
    method = make(image_size=image_size, grid=grid)
    found = seen(method, images(2, image_size, image_size))
    assert found.grids["mask"].values.shape == (2, grid, grid)
    boxes = torch.cat([boxes.xyxy for boxes in found.boxes.values()], 1)
    assert (boxes % 8 == 0).all()  # cells of the map are whole
    assert (boxes[..., 2:] > boxes[..., :2]).all()


@pytest.mark.parametrize("relation", ["both", "concatenate"])
def test_the_grid_is_at_most_the_map(make: Make, relation: str) -> None:
    """A map of 4×4 cells has no fifth; on a smaller image than it was built for, fewer parts."""
    method = make(image_size=32, grid=5, relation=relation)
    assert seen(method, images(2, 32, 32)).grids["mask"].values.shape == (2, 4, 4)
    found = seen(method, images(2, 16, 40))
    assert found.grids["mask"].values.shape == (2, 2, 4)
    assert {name: boxes.scores.shape[1] for name, boxes in found.boxes.items()} == {"scale1": 3, "scale2": 2}
    assert seen(method, images(2, 96, 96)).grids["mask"].values.shape == (2, 4, 4)


def test_parts_that_no_map_has_room_for(make: Make) -> None:
    with pytest.raises(BadRequest, match=r"method.parts: no part fits the 2x2 cells"):
        make(image_size=16, parts=(0, 0, 1))


def test_a_backbone_without_a_middle_map(build: Callable[..., Method]) -> None:
    with pytest.raises(BadRequest, match="has no three maps of doubling strides"):
        build(ScapNetSpec(), K, 64, "timm:mixer_s16_224")


# ---------------------------------------------------------------- fields: Table IV to XII


def test_field_gate(make: Make) -> None:
    """Table VII: 0 or 1, between them, or no mask and no L_act at all."""
    hard, soft, off = (make(gate=gate)(images(), evidence=True) for gate in ("hard", "soft", "off"))
    assert set(hard.features["mask"].unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(soft.features["mask"], soft.features["keep1"])
    assert list(losses(make(gate="soft"), soft)) == ["cls", "act", "con", "sub"]
    assert list(losses(make(gate="off"), off)) == ["cls", "con", "sub"]
    assert off.evidence is not None
    assert list(off.evidence.grids) == ["keep"]
    plain = make(gate="off", parts="off")
    expected = plain.classifier(plain.backbone(images(), ["conv5"])["conv5"].mean((2, 3)))
    torch.testing.assert_close(plain(images()).logits, expected)
    assert plain.location is None


@pytest.mark.parametrize("gate", ["soft", "hard"])
def test_field_gumbel(make: Make, gate: str) -> None:
    """Noise in training only, and of the default generator."""
    for gumbel in (True, False):
        method = make(gate=gate, gumbel=gumbel)
        assert torch.equal(method(images()).features["mask"], method(images()).features["mask"])
        method.train()
        masks = []
        for seed in (1, 2, 1):
            torch.manual_seed(seed)
            masks.append(method(images()).features["mask"])
        assert torch.equal(masks[0], masks[2])
        assert torch.equal(masks[0], masks[1]) is not gumbel


def test_field_temperature_and_the_noise_of_eq_5(make: Make) -> None:
    method = make(gate="soft", temperature=0.5).train()
    (log_probs,) = attention_of(torch.rand(2, 4, 4)).log_probs
    torch.manual_seed(4)
    found = method._gate(log_probs)
    torch.manual_seed(4)
    noisy = (log_probs.flatten(1, 2) + gumbel_noise(log_probs.flatten(1, 2))).view_as(log_probs)
    torch.testing.assert_close(found, (noisy / 0.5).softmax(-1)[..., 1])


@pytest.mark.parametrize("name", ["cls", "act", "con", "sub"])
def test_field_weights(make: Make, name: str) -> None:
    """Table XII."""
    plain, heavy = make(), make(**{f"weight_{name}": 2.5})
    one, two = losses(plain, plain(images())), losses(heavy, heavy(images()))
    for key in one:
        assert two[key] == pytest.approx(one[key] * (2.5 if key == name else 1))


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 5])
def test_field_grid(make: Make, grid: int) -> None:
    """Table VI."""
    found = seen(make(grid=grid), images())
    assert found.grids["mask"].values.shape == (3, grid, grid)
    assert list(found.boxes) == [f"scale{u}" for u in range(1, min(3, grid) + 1)]


def test_field_parts_off(make: Make) -> None:
    """Table IV: the gate alone."""
    method = make(parts="off")
    output = method(images(), evidence=True)
    assert list(output.branches) == ["master"]
    assert list(losses(method, output)) == ["cls", "act"]
    assert {name.split(".")[0] for name, _ in method.named_parameters()} == {"backbone", "location", "classifier"}
    assert output.evidence is not None
    assert not output.evidence.boxes
    assert list(output.evidence.grids) == ["keep", "mask"]


@pytest.mark.parametrize("parts", [(1, 2, 0), (1, 2, 1), (2, 2, 1), (4, 2, 1)])
def test_field_parts(make: Make, parts: tuple[int, ...]) -> None:
    """Table IX."""
    output = make(parts=parts)(images(), evidence=True)
    assert output.features["parts"].shape == (3, sum(parts), K)
    assert output.evidence is not None
    counts = {f"scale{u}": count for u, count in enumerate(parts, 1) if count}
    assert {name: boxes.scores.shape[1] for name, boxes in output.evidence.boxes.items()} == counts


def test_field_selection(make: Make) -> None:
    """Table VIII: L_con with `consistent` only; `max_score` takes the same parts; `random` others, by the dice."""
    methods = {name: make(selection=name) for name in ("random", "max_score", "consistent")}
    found = {name: method(images(), evidence=True) for name, method in methods.items()}
    boxes = {name: output.evidence.boxes["scale1"].xyxy for name, output in found.items()}
    assert [name for name in found if "con" in losses(methods[name], found[name])] == ["consistent"]
    assert torch.equal(boxes["max_score"], boxes["consistent"])
    assert torch.equal(boxes["random"], seen(methods["random"], images()).boxes["scale1"].xyxy)  # no dice
    assert torch.equal(boxes["random"][0], boxes["random"][1])
    training = methods["random"].train()
    drawn = [seen(training, images(8)).boxes["scale1"].xyxy for _ in range(2)]
    assert not torch.equal(*drawn)
    assert not torch.equal(drawn[0][0], drawn[0][1])


def test_random_parts_without_any_score(make: Make) -> None:
    method = make(gate="off", selection="random")
    assert method.location is None
    assert torch.equal(seen(method, images()).boxes["scale1"].scores, torch.ones(3, 3))


def test_field_relation(make: Make) -> None:
    """Table X."""
    logits = {}
    for relation in ("none", "concatenate", "gcn", "appearance", "geometry", "both"):
        method = make(relation=relation)
        output = method(images(), evidence=True)
        logits[relation] = output.branches["sub"]
        names = {name.split(".")[1] for name, _ in method.named_parameters() if name.startswith("relation.")}
        assert names == {
            "none": set(),
            "concatenate": set(),
            "gcn": {"weight"},
            "appearance": {"key", "query", "value"},
            "geometry": {"place", "value"},
            "both": {"key", "query", "place", "value"},
        }[relation]  # fmt: skip
        assert output.features["parts"].shape == (3, 1 if relation == "concatenate" else 6, K)
        assert method.sub_classifier.in_features == (6 if relation == "concatenate" else 1) * 160
    assert len({tuple(value.flatten().tolist()) for value in logits.values()}) == 6


def test_concatenated_parts_have_one_prediction_and_one_cross_entropy(make: Make) -> None:
    method = make(relation="concatenate")
    output = method(images())
    expected = torch.nn.functional.cross_entropy(output.branches["sub"], torch.tensor([0, 4, 2]))
    assert losses(method, output)["sub"] == pytest.approx(float(expected))


def test_fields_heads_and_key_size(make: Make) -> None:
    """Table V."""
    relation = make(heads=3, key_size=20).relation
    assert relation is not None
    assert {name: tuple(p.shape) for name, p in relation.named_parameters()} == {
        "key.weight": (60, 160),
        "query.weight": (60, 160),
        "place.weight": (3, 64),
        "value.weight": (160, 160),
    }


def test_fields_hidden_margin_and_part_scale(make: Make) -> None:
    location = make(hidden=5).location
    assert location is not None
    assert location.w1.out_features == 5
    narrow, wide = make(margin=0.0), make(margin=0.5)
    assert losses(narrow, narrow(images()))["con"] < losses(wide, wide(images()))["con"]
    whole = make(part_scale=1.0)
    inputs: list[Tensor] = []
    assert whole.sub_backbone is not None
    whole.sub_backbone.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    whole(images())
    assert inputs[0].shape == (18, 3, 64, 64)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"parts": (0, 0)}, r"parts \[0, 0\]: no part fits a grid of 4; use off for no parts"),
        ({"parts": (0, 0, 1), "grid": 2}, r"parts \[0, 0, 1\]: no part fits a grid of 2"),
        ({"parts": "off", "two_stage": 3}, "two_stage needs parts: with parts off there is no sub-network"),
        ({"gate": "off", "selection": "max_score"}, "with gate off only L_con trains the scores"),
        ({"gate": "off", "weight_con": 0}, "with gate off only L_con trains the scores"),
        ({"gate": "off", "parts": (1,)}, "with gate off only L_con trains the scores"),
        ({"parts": "all"}, "tuple"),
    ],
)
def test_impossible_combinations(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError, match=line):
        ScapNetSpec(**fields)


def test_more_heads_than_channels(make: Make, build: Callable[..., Method]) -> None:
    with pytest.raises(BadRequest, match="200 heads cannot share 160 channels"):
        build(ScapNetSpec.model_construct(**{**ScapNetSpec().model_dump(), "heads": 200}), K, 64)
