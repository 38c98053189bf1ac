"""REAPS beside literal float64 loops: Eq. 3 to 6, the paper's shapes, every field. Boxes: test_reaps_boxes.py."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgvc_cli.backbones import Backbone, build_backbone
from fgvc_cli.methods.base import Output
from fgvc_cli.methods.reaps import PartSequence, PartSequenceNetwork, Reaps, sequence
from fgvc_cli.spec.methods.reaps import ReapsSpec
from tests.methods.common import Build, fit, images, literal_cross_entropy

K, SIZE = 5, 64
LABELS = torch.tensor([0, 4, 2])


def network(method: Reaps, name: str) -> PartSequenceNetwork:
    found = method.networks[name]
    assert isinstance(found, PartSequenceNetwork)
    return found


# ---------------------------------------------------------------- Eq. 3, 4: the sequence


@pytest.mark.parametrize(("h", "w", "grid"), [(14, 14, (7, 7)), (8, 8, (7, 7)), (6, 9, (3, 2)), (4, 4, (4, 4))])
def test_the_sequence_reads_row_by_row(h: int, w: int, grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 3, h, w, dtype=torch.float64)
    cells = sequence(features, grid)
    assert cells.shape == (2, grid[0] * grid[1], 3)
    for b in range(2):
        n = 0
        for row in range(grid[0]):
            for column in range(grid[1]):
                rows = range(row * h // grid[0], math.ceil((row + 1) * h / grid[0]))
                columns = range(column * w // grid[1], math.ceil((column + 1) * w / grid[1]))
                values = [features[b, :, y, x] for y in rows for x in columns]
                torch.testing.assert_close(cells[b, n], torch.stack(values).sum(0) / len(values))
                n += 1


def literal_lstm(cells: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """One direction of an LSTM over (N, C), gate by gate (input, forget, cell, output)."""
    from_input, from_hidden, bias_input, bias_hidden = weights
    units = from_hidden.shape[1]
    hidden, memory, states = torch.zeros(units).double(), torch.zeros(units).double(), []
    for cell in cells:
        gates = from_input @ cell + bias_input + from_hidden @ hidden + bias_hidden
        i, f, g, o = gates.split(units)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * memory.tanh()
        states.append(hidden)
    return states


def test_the_part_representation_equals_an_lstm_by_hand() -> None:
    torch.manual_seed(0)
    parts = PartSequence(channels=3, num_classes=K, grid=(2, 3), units=8).double()
    features = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    states, logits = parts(features)
    cells = sequence(features, (2, 3))
    with torch.no_grad():
        for b in range(2):
            weights = list(parts.lstm.parameters())
            forward = literal_lstm(cells[b], weights[:4])
            backward = literal_lstm(cells[b].flip(0), weights[4:])[::-1]
            expected = [torch.cat(pair) for pair in zip(forward, backward, strict=True)]  # N states of U units
            torch.testing.assert_close(states[b], torch.stack(expected))
            torch.testing.assert_close(logits[b], parts.classifier.weight @ torch.cat(expected) + parts.classifier.bias)


def test_contributions_and_bias_sum_to_the_part_logit_of_the_final_class(reaps: Callable[..., Reaps]) -> None:
    method = reaps(stages=2, grid=3)
    output = method(images(), evidence=True)
    assert output.evidence is not None
    predicted = output.logits.argmax(1)
    for grid, name in (("sequence", "psn"), ("sequence2", "psn2")):
        parts = network(method, name).parts
        assert parts is not None
        values = output.evidence.grids[grid].values
        assert values.shape == (3, 3, 3)
        logit = output.branches[f"{name}_part"].gather(1, predicted[:, None])[:, 0]
        torch.testing.assert_close(values.sum((1, 2)) + parts.classifier.bias[predicted], logit)
        box = output.evidence.boxes["ran" if name == "psn" else "psn"].xyxy[:, 0]
        assert torch.equal(output.evidence.grids[grid].frame, box)
        assert torch.equal(output.evidence.heads[f"{name}_part"].frame, box)
        assert torch.equal(output.evidence.heads[f"{name}_global"].frame, box)


# ---------------------------------------------------------------- Eq. 5, 6: loss and joint representation


@pytest.mark.parametrize("stages", [1, 2])
def test_the_loss_equals_eq_5(reaps: Callable[..., Reaps], stages: int) -> None:
    method = reaps(stages=stages, lambda_ran=0.5, lambda_global=2, lambda_part=3)
    output = method(images())
    losses = method.losses(output, LABELS)
    weights = {"ran": 0.5, "psn_global": 2, "psn_part": 3, "psn2_global": 2, "psn2_part": 3, "joint": 1}
    assert list(losses) == [n for n in weights if stages == 2 or "psn2" not in n]
    for name, loss in losses.items():
        expected = weights[name] * literal_cross_entropy(output.branches[name], LABELS)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("stages", [1, 2])
def test_the_joint_representation_equals_eq_6(reaps: Callable[..., Reaps], stages: int) -> None:
    method = reaps(stages=stages)
    with torch.no_grad():
        output = method(images(), evidence=True)
        assert output.evidence is not None
        heads = output.evidence.heads
        for b in range(3):
            described = [heads["ran"].map[b].mean((1, 2))]  # A_g
            for name in ("psn", "psn2")[:stages]:
                parts = network(method, name).parts
                assert parts is not None
                states, _ = parts.lstm(sequence(heads[f"{name}_global"].map[b : b + 1], parts.grid))
                described += [heads[f"{name}_global"].map[b].mean((1, 2)), *states[0]]  # P_g, then the N states of P_p
            embedding = torch.cat(described)
            torch.testing.assert_close(output.evidence.embedding[b], embedding)
            torch.testing.assert_close(output.logits[b], method.joint.weight @ embedding + method.joint.bias)


def test_the_joint_loss_moves_the_joint_layer_alone(reaps: Callable[..., Reaps]) -> None:
    method = reaps(stages=2).train()
    method.losses(method(images()), LABELS)["joint"].backward()
    moved = {name for name, parameter in method.named_parameters() if parameter.grad is not None}
    assert moved == {"joint.weight", "joint.bias"}


def test_no_loss_of_a_part_network_reaches_the_attending_one(reaps: Callable[..., Reaps]) -> None:
    """Boxes are constants (Eq. 2): every network learns from its own terms."""
    method = reaps(stages=2).train()
    method.losses(method(images()), LABELS)["psn_part"].backward()
    moved = {".".join(name.split(".")[:2]) for name, p in method.named_parameters() if p.grad is not None}
    assert moved == {"networks.psn"}


def test_all_networks_start_from_the_same_weights_and_go_their_own_way(reaps: Callable[..., Reaps]) -> None:
    method = reaps(stages=2)
    for name in ("psn", "psn2"):
        theirs = network(method, name).backbone.state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in method.backbone.state_dict().items())
    storages = [p.data_ptr() for p in method.parameters()]
    assert len(storages) == len(set(storages))


# ---------------------------------------------------------------- the paper's shapes


def test_shapes_of_the_paper_at_vgg19_and_448() -> None:
    """14×14×512 maps, N = 49 vectors, U = 512, {A_g, P_g, P_p} of 512 + 512 + 49·512; on meta: nothing is computed."""
    backbone = build_backbone("vgg19")
    method = Reaps(ReapsSpec(), backbone, 196, 448).to("meta")
    psn = network(method, "psn")
    assert psn.parts is not None
    with torch.no_grad():
        output = method(torch.empty(2, 3, 448, 448, device="meta"), evidence=True)
        states, _ = psn.parts(torch.empty(2, 512, 14, 14, device="meta"))
    assert output.evidence is not None
    assert output.evidence.heads["psn_global"].map.shape == (2, 512, 14, 14)
    assert output.evidence.grids["sequence"].values.shape == (2, 7, 7)
    assert states.shape == (2, 49, 512)
    assert psn.parts.classifier.in_features == 49 * 512
    assert method.joint.in_features == 512 + 512 + 49 * 512
    assert output.evidence.embedding.shape == (2, 26_112)
    assert output.logits.shape == (2, 196)
    linear = 196 * (2 * 513 + 49 * 512 + 1 + 26_113)  # both global heads, the part head, the joint layer
    lstm = 2 * 4 * 256 * (512 + 256 + 2)
    assert sum(p.numel() for p in method.parameters()) == 2 * 20_024_384 + lstm + linear
    plus = Reaps(ReapsSpec(stages=2), backbone, 196, 448)
    assert plus.joint.in_features == 512 + 2 * (512 + 49 * 512)


# ---------------------------------------------------------------- fields


def test_field_stages(reaps: Callable[..., Reaps]) -> None:
    assert list(reaps()(images()).branches) == ["ran", "psn_global", "psn_part", "joint"]
    plus = ["ran", "psn_global", "psn_part", "psn2_global", "psn2_part", "joint"]
    assert list(reaps(stages=2)(images()).branches) == plus


@pytest.mark.parametrize(("grid", "image_size", "cells"), [(7, 112, 49), (7, 64, 16), (3, 64, 9), (1, 64, 1)])
def test_field_grid_is_at_most_the_map(reaps: Callable[..., Reaps], grid: int, image_size: int, cells: int) -> None:
    method = reaps(image_size, grid=grid)
    assert method.joint.in_features == 2 * 160 + cells * 16


def test_field_units(reaps: Callable[..., Reaps]) -> None:
    parts = network(reaps(units=24), "psn").parts
    assert parts is not None
    assert parts.lstm.hidden_size == 12
    assert parts.lstm.bidirectional
    assert parts.classifier.in_features == 16 * 24


def test_field_part_branch(reaps: Callable[..., Reaps]) -> None:
    method = reaps(part_branch=False)
    output = method(images(), evidence=True)
    assert list(output.branches) == ["ran", "psn_global", "joint"]
    assert list(method.losses(output, LABELS)) == ["ran", "psn_global", "joint"]
    assert output.evidence is not None
    assert output.evidence.grids == {}
    assert not any(isinstance(m, nn.LSTM) for m in method.modules())
    assert method.joint.in_features == 2 * 160


@pytest.mark.parametrize(
    ("field", "branch"), [("lambda_ran", "ran"), ("lambda_global", "psn_global"), ("lambda_part", "psn_part")]
)
def test_fields_of_the_loss_weights(reaps: Callable[..., Reaps], field: str, branch: str) -> None:
    output = reaps()(images())
    plain, doubled = reaps().losses(output, LABELS), reaps(**{field: 2.0}).losses(output, LABELS)
    assert {n for n in plain if not torch.equal(plain[n], doubled[n])} == {branch}
    torch.testing.assert_close(doubled[branch], 2 * plain[branch])


def test_another_size_than_it_was_built_for(reaps: Callable[..., Reaps]) -> None:
    method = reaps(64)
    output: Output = method(images(2, 96, 160))
    assert output.logits.shape == (2, K)


def test_a_few_steps_fit_a_batch(build: Build) -> None:
    method = build(ReapsSpec(units=16), 3, 48).train()
    batch, labels = images(6, 48, 48), torch.tensor([0, 1, 2, 0, 1, 2])
    fit(method, batch, labels, 12)
    branches = method(batch).branches
    assert all((logits.argmax(1) == labels).all() for logits in branches.values())


def test_backbones_of_every_kind(build: Build) -> None:
    for name in ("resnet18", "timm:convnext_atto"):
        method = build(ReapsSpec(units=16), K, 64, name).eval()
        assert isinstance(method.backbone, Backbone)
        logits = method(images(2)).logits
        assert logits.shape == (2, K)
        assert F.softmax(logits, 1).isfinite().all()
