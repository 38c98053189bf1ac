"""Gradient checkpointing changes what is kept, and nothing of what is computed: every comparison here is of bits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fgvc_cli.backbones import Backbone, build_backbone, set_checkpointing
from fgvc_cli.backbones.recompute import units
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods import METHODS, build_method
from fgvc_cli.methods.base import Method
from fgvc_cli.spec.methods.apcnn import ApCnnSpec
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.scapnet import ScapNetSpec
from fgvc_cli.training.learner import StepModule
from tests.conftest import small_spec
from tests.making import method_on

K, SIZE = 5, 64
SPECS = [*(spec() for spec in METHODS), ApCnnSpec(refine_at="input"), ScapNetSpec(two_stage=1)]
every_method = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}{len(spec.model_fields_set)}")


def build(spec: MethodSpec, backbone: str = "tiny") -> Method:
    torch.manual_seed(0)
    method = method_on(backbone, spec, K, SIZE)
    method.on_epoch(0, 4)
    return method


def batch(size: int = 4, side: int = SIZE) -> tuple[Tensor, Tensor]:
    return torch.randn(size, 3, side, side, generator=torch.Generator().manual_seed(1)), torch.arange(size) % K


def result(step: nn.Module, steps: int = 1, run: Any = None, **autocast: Any) -> dict[str, Tensor]:
    """Everything that steps leave: losses, gradients, buffers, and where the dice are; `run` is called for them."""
    torch.manual_seed(2)
    left: dict[str, Tensor] = {}
    for number in range(steps):
        with torch.autocast("cpu", enabled=bool(autocast), **autocast):
            values = (step if run is None else run)(*batch())
        values["loss"].backward()
        left |= {f"{number} {name}": value.detach() for name, value in values.items()}
    left |= {f"gradient {name}": p.grad for name, p in step.named_parameters() if p.grad is not None}
    return left | {name: value.clone() for name, value in step.named_buffers()} | {"dice": torch.get_rng_state()}


def both(method: Method, wrap: Callable[[nn.Module], nn.Module] = lambda step: step, **how: Any) -> None:
    """The same steps with and without, which must leave the same."""
    other = copy.deepcopy(method)
    set_checkpointing(other, True)
    usual, saving = (result(wrap(StepModule(one.train())), **how) for one in (method, other))
    assert usual.keys() == saving.keys()
    assert [name for name in usual if not torch.equal(usual[name], saving[name])] == []
    assert any(name.startswith("gradient") for name in usual)


@every_method
def test_a_step_is_the_same_to_the_bit(spec: MethodSpec) -> None:
    both(build(spec))


@pytest.mark.parametrize(
    "backbone",
    [
        "resnet18",
        "vgg16_bn",
        "timm:resnet10t",
        "timm:convnext_atto",
        "timm:tf_efficientnet_lite0",
        "timm:test_efficientnet",
    ],
)
def test_a_step_of_a_backbone_is_the_same_to_the_bit(backbone: str) -> None:
    both(build(next(iter(METHODS))(), backbone))


def test_dropped_paths_are_drawn_as_before() -> None:
    method = build(next(iter(METHODS))(), "timm:convnext_atto")
    for module in method.modules():
        if hasattr(module, "drop_path"):
            module.drop_path = nn.Dropout(0.5)
    both(method)


def test_under_autocast() -> None:
    both(build(ApCnnSpec()), dtype=torch.bfloat16)


@every_method
def test_backbones_of_a_method_compute_again(spec: MethodSpec) -> None:
    """All of them do: a method's second network is a backbone too."""
    method = build(spec)
    set_checkpointing(method, True)
    found = [module for module in method.modules() if isinstance(module, Backbone)]
    assert found
    assert all(backbone.checkpointing for backbone in found)
    set_checkpointing(method, False)
    assert not any(backbone.checkpointing for backbone in found)


@pytest.mark.parametrize("spec", [ApCnnSpec(), ScapNetSpec()], ids=lambda spec: spec.name)
def test_statistics_are_counted_as_often_as_images_pass(spec: MethodSpec) -> None:
    """Once a step in the lowest layer, and in AP-CNN's top layers twice, which see each image twice."""
    method = build(spec).train()
    set_checkpointing(method, True)
    result(StepModule(method))
    counts = [int(m.num_batches_tracked) for m in method.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert (counts[0], counts[-1]) == (1, 2 if spec.name == "apcnn" else 1)


@pytest.fixture
def alone() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("spec", [ApCnnSpec(), ScapNetSpec()], ids=lambda spec: spec.name)
def test_of_several_processes(spec: MethodSpec) -> None:
    def wrap(step: nn.Module) -> nn.Module:
        return DistributedDataParallel(step, gradient_as_bucket_view=True, static_graph=True)

    both(build(spec), wrap, steps=2)


def test_compiled_it_is_one_graph_and_the_same() -> None:
    """What AOT autograd makes of it: statistics still count once, and on this network its arithmetic is eager's."""
    method = build(next(iter(METHODS))()).train()
    usual = result(StepModule(copy.deepcopy(method)))
    set_checkpointing(method, True)
    torch._dynamo.reset()
    step = StepModule(method)
    saving = result(step, run=torch.compile(step, backend="aot_eager", fullgraph=True))
    assert [name for name in usual if not torch.equal(usual[name], saving[name])] == []


# ---------------------------------------------------------------- memory


def kept(backbone: Backbone, images: Tensor) -> int:
    """Bytes that are kept for the backward pass, weights not counted."""
    own = {tensor.untyped_storage().data_ptr() for tensor in backbone.state_dict().values()}
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage  # kept alive, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        map_ = backbone(images, [backbone.last])
    del map_
    return sum(storage.nbytes() for address, storage in saved.items() if address not in own)


def peak(backbone: Backbone, images: Tensor) -> int:
    """Bytes at once that a forward and backward pass ask the allocator for."""
    for parameter in backbone.parameters():
        parameter.grad = torch.zeros_like(parameter)
    cpu = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[cpu], profile_memory=True) as profiler:
        backbone(images, [backbone.last])[backbone.last].square().mean().backward()
    events = profiler.profiler.kineto_results.events()
    now, most = 0, 0
    for _, change in sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"):
        now += change
        most = max(now, most)
    return most


@pytest.mark.parametrize(
    "name", ["tiny", "resnet50", "vgg16", "vgg16_bn", "timm:resnet10t", "timm:convnext_atto", "timm:test_efficientnet"]
)
def test_less_than_half_is_kept(name: str) -> None:
    backbone, images = build_backbone(name).train(), batch(2)[0]
    usual = kept(backbone, images)
    set_checkpointing(backbone, True)
    assert kept(backbone, images) < usual / 2


@pytest.mark.parametrize("name", ["resnet50", "vgg16_bn"])
def test_the_peak_is_much_lower(name: str) -> None:
    """Beside what is kept there is one block at a time, and what the gradients of the weights need in any case."""
    backbone, images = build_backbone(name).train(), batch(4, 96)[0]
    usual = peak(backbone, images)
    set_checkpointing(backbone, True)
    assert peak(backbone, images) < 0.6 * usual


def test_evaluation_keeps_nothing_and_needs_nothing() -> None:
    backbone, images = build_backbone("tiny"), batch(2)[0]
    set_checkpointing(backbone, True)
    with torch.inference_mode():
        assert backbone.eval()(images, ["conv5"])["conv5"].shape == (2, 160, 4, 4)
    usual = build_backbone("tiny").eval()
    assert kept(backbone, images) == kept(usual, images)  # Grad-CAM looks back through a network that only evaluates


def test_units_of_each_layout() -> None:
    """Blocks of a stage one by one; a stem and the layers of a VGG up to their pooling together."""

    def of(name: str) -> list[int]:
        backbone = build_backbone(name)
        return [len(u) for u in units([backbone.trunk.get_submodule(p) for s in backbone.segments for p in s.modules])]

    assert of("tiny") == [1] * 5
    assert of("resnet18") == [4, *[1] * 8]  # conv, bn, relu, maxpool; two blocks of four stages
    assert of("vgg16") == [5, 5, 7, 7, 7]
    assert of("vgg16_bn") == [7, 7, 10, 10, 10]


def test_an_error_on_the_way_back_leaves_the_statistics_alone() -> None:
    backbone, images = build_backbone("tiny").train(), batch(2)[0]
    set_checkpointing(backbone, True)
    map_ = backbone(images, ["conv5"])["conv5"]
    before = {name: (value.data_ptr(), value.clone()) for name, value in backbone.named_buffers()}

    def fail(module: nn.Module, args: object) -> None:
        raise MemoryError

    backbone.trunk.conv3.first[1].register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        map_.sum().backward()
    for name, value in backbone.named_buffers():
        assert value.data_ptr() == before[name][0]
        assert torch.equal(value, before[name][1])


def test_a_field_of_the_run_switches_it_on(photos) -> None:
    on, _ = build_method(small_spec(photos, "reaps", "train.gradient_checkpointing=true"), 3)
    off, _ = build_method(small_spec(photos, "reaps"), 3)
    backbones = [[m.checkpointing for m in method.modules() if isinstance(m, Backbone)] for method in (on, off)]
    assert backbones == [[True, True], [False, False]]


@pytest.mark.parametrize("name", ["timm:hrnet_w18_small", "timm:xception41"])
def test_what_cannot_be_exact_is_refused(name: str) -> None:
    backbone = build_backbone(name)
    with pytest.raises(BadRequest, match=rf"gradient_checkpointing: backbone {name} runs as a whole .* twice"):
        set_checkpointing(backbone, True)
    set_checkpointing(backbone, False)


def test_a_transformer_that_runs_whole_does_it_itself() -> None:
    backbone, images = build_backbone("timm:test_vit").train(), batch(2)[0]
    usual = kept(backbone, images)
    set_checkpointing(backbone, True)
    assert kept(backbone, images) < usual / 2
