"""The step around a method: nothing in it waits for a value, and it goes on where another device left it."""

from __future__ import annotations

import pytest
import torch

from fgvc_cli.data.loading.to_device import ahead
from fgvc_cli.data.types import Batch
from fgvc_cli.evaluation.counting.measures import Measures
from fgvc_cli.machine import device as device_module
from fgvc_cli.spec.train import TrainSpec
from fgvc_cli.training.learner import Learner, random_batch
from fgvc_cli.training.session import Averages
from tests.conftest import small_spec
from tests.methods.test_contract import WAITS, Operations

CPU = torch.device("cpu")
SETS = ("train.ema_decay=0.9", "optim.clip_norm=1", "regularise.mixup_alpha=0.2", "regularise.label_smoothing=0.1")


def learner_of(photos, *sets: str) -> Learner:
    spec = small_spec(photos, "baseline", *SETS, *sets)
    learner = Learner.build(spec, 3, CPU, steps_per_epoch=2, load_weights=False)
    learner.begin_epoch(0)
    learner.method.train()
    return learner


def uint8_batch(size: int = 4) -> Batch:
    images = torch.randint(0, 256, (size, 3, 32, 32), dtype=torch.uint8)
    number = torch.arange(size)
    return Batch(images, number % 3, number, torch.eye(2, 3).repeat(size, 1, 1))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_whole_step_reads_no_value(photos, optimizer) -> None:
    """As it is on CUDA: fused optimizers, and loss scaling as for fp16."""
    learner = learner_of(photos, f"optim.optimizer.name={optimizer}")
    for group in learner.optimizer.param_groups:
        group["fused"] = True
    learner.optimizer._step_supports_amp_scaling = True  # what fused=True says to begin with
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    averages, measures = Averages(), Measures(3, CPU)

    def step() -> None:
        batch = learner.prepared(uint8_batch())
        averages.add(learner.backward(batch), 4)
        learner.update()
        with torch.no_grad():
            measures.update(learner.selected(batch.images), random_batch(4, 32, 3, CPU))

    step()  # the first makes what the later ones use
    before = [parameter.clone() for parameter in learner.method.parameters()]
    with Operations() as running:
        step()
    assert len(running.names) > 100
    assert [name for name in running.names if any(word in name for word in WAITS)] == []
    assert not all(map(torch.equal, before, learner.method.parameters()))


def test_a_state_of_another_kind_of_device_brings_no_fused_optimizer(photos) -> None:
    learner, other = learner_of(photos), learner_of(photos)
    learner.backward(learner.prepared(uint8_batch()))
    learner.update()
    state = learner.state()
    for group in state["optimizer"]["param_groups"]:
        group["fused"] = True  # as CUDA saves it
    other.restore(state)
    assert [group["fused"] for group in other.optimizer.param_groups] == [None]
    assert all(map(torch.equal, learner.method.state_dict().values(), other.method.state_dict().values()))
    assert other.average is not None
    assert other.average.updates == 1


def test_batches_pass_in_order_on_the_cpu() -> None:
    batches = [uint8_batch(size) for size in (1, 2, 3)]
    assert [len(batch.labels) for batch in ahead(iter(batches), CPU)] == [1, 2, 3]


@pytest.mark.parametrize(("deterministic", "tf32"), [(False, True), (True, False)])
def test_what_cuda_may_choose(deterministic, tf32) -> None:
    before = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        device_module._prepare_cuda(TrainSpec(deterministic=deterministic, tf32=tf32))
        assert torch.backends.cudnn.benchmark is not deterministic
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
        assert torch.backends.cudnn.allow_tf32 is tf32
    finally:
        torch.backends.cudnn.benchmark, _, torch.backends.cudnn.allow_tf32 = before
        torch.set_float32_matmul_precision(before[1])
