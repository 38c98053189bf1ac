"""What every method must keep, over the whole table and over variants that run other code.

A new method is covered by its line in METHODS; add a variant here for a setting that changes its graph.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fgvc_cli.errors import BadRequest
from fgvc_cli.methods import METHODS
from fgvc_cli.methods.base import BehindEmbedding, Evidence, Method, Output
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.spec.methods.apcnn import ApCnnSpec
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.clan import ClanSpec
from fgvc_cli.spec.methods.reaps import ReapsSpec
from fgvc_cli.spec.methods.scapnet import ScapNetSpec
from fgvc_cli.spec.methods.tdsa import TdsaSpec
from fgvc_cli.spec.optim import OptimSpec
from fgvc_cli.training.optim import parameter_groups

Build = Callable[..., Method]
K, SIZE = 5, 64
VARIANTS: list[MethodSpec] = [
    ApCnnSpec(width=16, guidance="random", spatial_gate=False, refine_at="input", drop_rescale="crop"),
    ApCnnSpec(width=16, neck="top_down", pathway="spatial", refine_at="conv1", bottom_up="sum"),
    ApCnnSpec(pyramid="none", refine=False),
    ReapsSpec(stages=2, units=32, box="largest_component"),
    ReapsSpec(part_branch=False),
    ScapNetSpec(gate="soft", grid=3, selection="random", heads=3),
    ScapNetSpec(gate="off", relation="gcn"),
    ClanSpec(scales=3, relation="gaussian", spatial_pool="max"),
    ClanSpec(context="nonlocal", clsa=False),
    TdsaSpec(channels_per_class=2, upsample="bilinear", high_stride=1),
    TdsaSpec(xi=1, top_down=False, channels_per_class=3),
]
CASES = [pytest.param(spec(), id=spec.model_fields["name"].default) for spec in METHODS] + [
    pytest.param(spec, id="-".join(f"{v}" for v in spec.model_dump(exclude_defaults=True).values()))
    for spec in VARIANTS
]
every_method = pytest.mark.parametrize("spec", CASES)


def images(batch: int = 4, height: int = SIZE, width: int = SIZE) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


LABELS = torch.tensor([0, 4, 2, 2])


def total(method: Method, output: Output, labels: Tensor) -> Tensor:
    return torch.stack(list(method.losses(output, labels).values())).sum()


def test_every_spec_has_a_method() -> None:
    assert set(METHODS) == set(METHOD_SPECS.values())


@every_method
@pytest.mark.parametrize(("batch", "classes"), [(4, K), (1, 2), (2, 300)])
def test_shapes(build: Build, spec: MethodSpec, batch: int, classes: int) -> None:
    method = build(spec, num_classes=classes).eval()
    output = method(images(batch))
    assert output.evidence is None
    assert all(logits.shape == (batch, classes) for logits in output.branches.values())
    assert output.logits.shape == (batch, classes)
    assert any(output.logits is logits for logits in output.branches.values())


def check_inside(boxes: Tensor, height: int, width: int) -> None:
    assert boxes.dtype == torch.float32
    assert not boxes.requires_grad
    assert (boxes[..., :2] >= -1e-4).all()
    assert (boxes[..., 2:] <= torch.tensor([width, height]) + 1e-4).all()
    assert (boxes[..., 2:] > boxes[..., :2]).all()


def check_evidence(found: Evidence, branches: dict[str, Tensor], height: int, width: int) -> None:
    batch, classes = next(iter(branches.values())).shape
    assert found.heads
    assert set(found.heads) <= set(branches)
    for head in found.heads.values():
        assert head.map.ndim == 4
        assert head.frame.shape == (batch, 4)
        assert head.weight is None or head.weight.shape == (classes, head.map.shape[1])
        check_inside(head.frame, height, width)
    assert found.maps
    for maps in found.maps.values():
        assert maps.values.ndim == 4
        assert len(maps.values) == batch
        assert not maps.values.requires_grad
        assert maps.classes is None or maps.classes.shape[-1] == maps.values.shape[1]
        check_inside(maps.frame, height, width)
    for boxes in found.boxes.values():
        assert boxes.xyxy.shape == (*boxes.scores.shape, 4) == (*boxes.valid.shape, 4)
        assert boxes.valid.dtype == torch.bool
        assert torch.isfinite(boxes.scores).all()
        check_inside(boxes.xyxy, height, width)
    for grid in found.grids.values():
        assert grid.values.ndim == 3
        assert len(grid.values) == batch
        check_inside(grid.frame, height, width)
    assert all(relation.ndim == 3 for relation in found.relations.values())
    assert found.embedding is not None
    assert found.embedding.shape[0] == batch
    assert not found.embedding.requires_grad


@every_method
@pytest.mark.parametrize(("height", "width"), [(SIZE, SIZE), (48, 96)])
def test_evidence_is_whole_and_inside_the_image(build: Build, spec: MethodSpec, height: int, width: int) -> None:
    output = build(spec)(images(4, height, width), evidence=True)
    assert output.evidence is not None
    check_evidence(output.evidence, output.branches, height, width)


@every_method
def test_evidence_changes_no_logit(build: Build, spec: MethodSpec) -> None:
    method = build(spec).eval()
    with torch.no_grad():
        plain, told = method(images()), method(images(), evidence=True)
    assert all(torch.equal(plain.branches[n], told.branches[n]) for n in plain.branches)


def stir(method: Method) -> None:
    """Move every parameter a little: what starts at zero hides what lies behind it for one step."""
    dice = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=dice), alpha=0.01)


@every_method
@pytest.mark.parametrize("autocast", [False, True])
def test_losses_are_finite_fp32_scalars_and_reach_every_parameter(
    build: Build, spec: MethodSpec, autocast: bool
) -> None:
    method = build(spec).train()
    stir(method)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = method(images())
        losses = method.losses(output, LABELS)
    assert losses
    for loss in losses.values():
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
    torch.stack(list(losses.values())).sum().backward()
    without = [n for n, p in method.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


@every_method
def test_channels_last(build: Build, spec: MethodSpec) -> None:
    method = build(spec).eval()
    with torch.no_grad():
        expected = method(images()).logits
        method.to(memory_format=torch.channels_last)
        found = method(images().to(memory_format=torch.channels_last), evidence=True).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@every_method
def test_probabilities_as_labels(build: Build, spec: MethodSpec) -> None:
    method = build(spec).eval()
    output = method(images())
    hard = method.losses(output, LABELS)
    soft = method.losses(output, F.one_hot(LABELS, K).double())
    assert hard.keys() == soft.keys()
    for name in hard:
        torch.testing.assert_close(hard[name], soft[name])
        assert soft[name].dtype == torch.float32


@every_method
def test_images_and_losses_of_a_batch_do_not_mix(build: Build, spec: MethodSpec) -> None:
    method = build(spec).eval()
    with torch.no_grad():
        together = method(images())
        alone = [method(images()[i : i + 1]) for i in range(4)]
        losses = torch.stack([total(method, alone[i], LABELS[i : i + 1]) for i in range(4)])
    for name, logits in together.branches.items():
        torch.testing.assert_close(logits, torch.cat([one.branches[name] for one in alone]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(total(method, together, LABELS), losses.mean(), rtol=1e-4, atol=1e-4)


@every_method
def test_state_dict_out_and_back(build: Build, spec: MethodSpec, tmp_path: Path) -> None:
    method = build(spec).eval()
    state = {key: value.contiguous() for key, value in method.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    other = build(spec).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other(images()).logits, method(images()).logits)
    assert torch.equal(copy.deepcopy(method)(images()).logits, method(images()).logits)


@every_method
def test_parameter_groups_hold_every_parameter_once(build: Build, spec: MethodSpec) -> None:
    method = build(spec)
    groups = parameter_groups(method, OptimSpec(), 0.1)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in method.parameters()}
    assert all(group["lr"] > 0 for group in groups)


@every_method
def test_on_epoch_is_a_pure_function(build: Build, spec: MethodSpec) -> None:
    first, second = build(spec), build(spec)
    for epoch in range(3):
        first.on_epoch(epoch, 3)
    assert isinstance(second.on_epoch(2, 3), bool)
    trains = [[p.requires_grad for p in method.parameters()] for method in (first, second)]
    assert trains[0] == trains[1]


@every_method
@pytest.mark.parametrize("training", [True, False])
def test_one_graph(build: Build, spec: MethodSpec, training: bool) -> None:
    """No graph break; torch.compile takes an LSTM only when told so."""
    torch._dynamo.reset()
    method = build(spec).train(training)
    twin = copy.deepcopy(method)

    def step(model: Method, batch: Tensor, labels: Tensor) -> tuple[Output, Tensor]:
        output = model(batch, evidence=not training)
        return output, total(model, output, labels)

    compiled = torch.compile(step, fullgraph=True, backend="eager")
    with torch._dynamo.config.patch(allow_rnn=True):
        torch.manual_seed(2)  # the method's own dice fall alike
        output, loss = compiled(method, images(), LABELS)
    torch.manual_seed(2)
    expected, expected_loss = step(twin, images(), LABELS)
    torch.testing.assert_close(output.logits, expected.logits)
    torch.testing.assert_close(loss, expected_loss)


@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights:UserWarning")  # nn.LSTM's own list
@every_method
def test_export(build: Build, spec: MethodSpec) -> None:
    method = build(spec).eval()
    with torch.no_grad():
        program = torch.export.export(method, (images(2),), {"evidence": True}, strict=False)
        output = program.module()(images(2), evidence=True)
        torch.testing.assert_close(output.logits, method(images(2)).logits)
    assert isinstance(output.evidence, Evidence)


# Operations that hand a value to Python, or make a shape of one: on a GPU the host waits for them.
# A tensor of Python's numbers (`lift_fresh`), as for an index by a list, is copied there, which waits as well.
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "unique", "index by booleans", "lift_fresh")


class Operations(TorchDispatchMode):
    """Names of the operations that run; an index by a boolean tensor is named so."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.name()
        indices = flat(args[1:])  # what is indexed may be boolean
        if name.startswith("aten::index") and any(isinstance(i, Tensor) and i.dtype == torch.bool for i in indices):
            name = "index by booleans"
        self.names.append(name)
        return func(*args, **(kwargs or {}))


def flat(args: object) -> list[object]:
    return [leaf for a in args for leaf in flat(a)] if isinstance(args, list | tuple) else [args]


def operations(method: Method, batch: int) -> list[str]:
    with Operations() as running:
        output = method(images(batch), evidence=True)
        total(method, output, LABELS.repeat(2)[:batch]).backward()
    return running.names


@every_method
@pytest.mark.parametrize("training", [True, False])
def test_the_work_is_batched_and_never_waits_for_a_value(build: Build, spec: MethodSpec, training: bool) -> None:
    """As many operations for 8 images as for 2, and none that hands a value to Python or makes a shape of it."""
    method = build(spec).train(training)
    operations(method, 2)  # the first backward creates the gradients, later ones add to them
    few, many = operations(method, 2), operations(method, 8)
    assert len(few) == len(many)
    assert [name for name in many if any(word in name for word in WAITS)] == []


@every_method
def test_a_spec_says_whether_its_method_is_behind_the_embedding(spec: MethodSpec) -> None:
    assert issubclass(METHODS[type(spec)], BehindEmbedding) == spec.behind


def test_a_method_without_an_embedding_says_so(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method of one's own may leave it out of its evidence."""
    method = build(ReapsSpec()).eval()
    monkeypatch.setattr(method, "forward", lambda images, evidence: Output(images, {}, {}, Evidence()))
    with pytest.raises(BadRequest, match=r"^method Reaps gives no embedding$"):
        method.embed(torch.zeros(1, 3, SIZE, SIZE))
