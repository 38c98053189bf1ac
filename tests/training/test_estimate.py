"""What a dry run tells, against real steps and counts by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fgvc_cli.errors import BadRequest
from fgvc_cli.methods import build_method
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.training import estimate as module
from fgvc_cli.training.estimate import (
    estimate,
    estimate_memory,
    estimate_time,
    free_memory,
    recomputed_bytes,
    saved_bytes,
)
from fgvc_cli.training.learner import StepModule
from tests.conftest import small_spec
from tests.training.test_train import quiet

CPU = torch.device("cpu")
METHODS = list(METHOD_SPECS)


def test_counts(photos, tmp_path) -> None:
    sets = ("data.val_fraction=0.25", "data.limit_test=6", "train.batch_size=5")
    found = estimate(small_spec(photos, "baseline", *sets), tmp_path / "run", quiet())
    assert found.images == {"train": 18, "val": 6, "test": 6}
    assert found.classes == ("blue", "green", "red")
    assert (found.batch, found.batches) == (5, 3)
    assert found.counts.parameters == found.counts.trainable > 500_000
    assert found.time.batch > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", METHODS)
def test_a_step_saves_about_what_is_told(photos, method) -> None:
    spec = small_spec(photos, method, "data.image_size=64", "data.resize=64")
    told = estimate_memory(spec, 3, 8, CPU).activations
    model, _ = build_method(spec, 3, load_weights=False)
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = StepModule(model.train())(torch.randn(8, 3, 64, 64), torch.arange(8) % 3)["loss"]
    assert told == pytest.approx(sum(saved.values()), rel=0.25)  # an LSTM on the CPU keeps a workspace of its own
    del loss


def test_memory_is_that_of_the_last_stage(photos) -> None:
    """A first stage that leaves a network out says nothing of what the run will need."""
    whole, staged = (small_spec(photos, "scapnet", *sets) for sets in ((), ("method.two_stage=1",)))
    found = [replace(estimate_memory(spec, 3, 4, CPU), free=None) for spec in (staged, whole)]
    assert found[0] == found[1]


@pytest.mark.parametrize("method", ["baseline", "apcnn", "scapnet"])
def test_what_is_computed_again_is_counted_once_and_a_block_at_a_time(photos, method) -> None:
    spec = small_spec(photos, method, "backbone.name=resnet18")
    sparing = small_spec(photos, method, "backbone.name=resnet18", "train.gradient_checkpointing=true")
    usual, least = (estimate_memory(s, 3, 8, CPU).activations for s in (spec, sparing))
    assert 0.1 * usual < least < 0.9 * usual
    with torch.device("meta"):
        model, _ = build_method(sparing, 3, load_weights=False)
    kept = saved_bytes(model, 32, 3)
    # Most in a residual network: a block of the first stage, 2 images of 64 channels and 8 × 8 float32 a map. There are
    # its input, and of both convolutions what comes out, normalised; all but the last is changed by ReLU in place.
    assert recomputed_bytes(model, 32, 3) >= 5 * 2 * 64 * 8 * 8 * 4
    assert least == 4 * (kept + recomputed_bytes(model, 32, 3))


def test_what_is_kept_by_hand() -> None:
    """A linear layer keeps its input: 2 images × 3 × 4 × 4 float32, once although two layers read it."""

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Linear(48, 5, device="meta"), torch.nn.Linear(48, 5, device="meta")

        def forward(self, images):
            flat = images.flatten(1)
            return type("Output", (), {"logits": self.a(flat) + self.b(flat)})

        def losses(self, output, labels):
            return {"final": output.logits.sum()}

    assert saved_bytes(Two(), 4, 5) == 2 * 48 * 4


@pytest.mark.parametrize(
    ("sets", "optimizer", "average"),
    [
        (["optim.optimizer.name=sgd", "optim.optimizer.momentum=0"], 0, 0),
        (["optim.optimizer.name=sgd"], 1, 0),
        (["optim.optimizer.name=adamw", "train.ema_decay=0.99"], 2, 1),
    ],
)
def test_memory_by_what_it_holds(photos, sets, optimizer, average) -> None:
    spec = small_spec(photos, "baseline", *sets)
    model, _ = build_method(spec, 3, load_weights=False)
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    trained = 4 * sum(parameter.numel() for parameter in model.parameters())
    found = estimate_memory(spec, 3, 5, CPU)
    assert (found.weights, found.gradients) == (weights, trained)
    assert (found.optimizer, found.average) == (optimizer * trained, average * weights)
    assert found.total == weights * (1 + average) + trained * (1 + optimizer) + found.activations
    assert estimate_memory(spec, 3, 10, CPU).activations == 2 * found.activations
    half = spec.model_copy(update={"train": spec.train.model_copy(update={"precision": "bf16"})})
    assert estimate_memory(half, 3, 5, CPU).activations == pytest.approx(found.activations / 2, abs=1)


@pytest.mark.parametrize(
    ("seconds", "multiply_adds", "basis"),
    [
        (10.0, 1, "from 3 steps on random images"),
        (1e-3, 1, "from a step of 2 random images"),
        (1e-3, 10**12, "from its"),
    ],
)
def test_time_is_measured_only_where_that_is_quick(photos, monkeypatch, seconds, multiply_adds, basis) -> None:
    monkeypatch.setattr(module, "SECONDS", seconds)
    spec = small_spec(photos)
    found = estimate_time(spec, 3, 5, CPU, multiply_adds, estimate_memory(spec, 3, 5, CPU))
    assert found.basis.startswith(basis)
    assert found.batch > 0


def test_a_batch_of_one_can_be_timed(photos) -> None:
    spec = small_spec(photos, "baseline", "train.batch_size=1", "backbone.name=resnet18")
    assert estimate_time(spec, 3, 1, CPU, 1, estimate_memory(spec, 3, 1, CPU)).batch > 0


def test_what_training_would_refuse_is_refused(photos, tmp_path) -> None:
    with pytest.raises(BadRequest, match=r"train\.patience"):
        estimate(small_spec(photos, "baseline", "train.patience=1"), tmp_path / "run", quiet())
    (tmp_path / "thing").write_text("x")
    with pytest.raises(BadRequest, match="exists and is not a run"):
        estimate(small_spec(photos), tmp_path / "thing", quiet())


def test_free_memory_is_a_size_or_unknown() -> None:
    free = free_memory(CPU)
    assert free is None or free > 1 << 20
