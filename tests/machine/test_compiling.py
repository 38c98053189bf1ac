"""Compiled steps: one graph, the same numbers, the same run folder. Cheap back ends, but for the slow tests."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch._dynamo.utils import counters

from fgvc_cli.backbones import build_backbone
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.evaluation.evaluate import evaluate_run
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.machine import compiling
from fgvc_cli.machine.compiling import Compiled, check_compiler
from fgvc_cli.methods import METHODS
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.terminal import Console
from fgvc_cli.training.learner import Learner, StepModule, random_batch
from fgvc_cli.training.train import Machine, resume, train
from tests.conftest import small_spec
from tests.training.test_train import Killed, assert_same_run, kill_after

K, SIZE, CPU = 5, 32, torch.device("cpu")
every_method = pytest.mark.parametrize("name", METHOD_SPECS)


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def step_of(name: str) -> StepModule:
    spec = METHOD_SPECS[name]
    torch.manual_seed(0)
    return StepModule(METHODS[spec](spec(), build_backbone("tiny"), K, SIZE)).train()


def batch(kind: str) -> tuple[Tensor, Tensor]:
    images = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 4, 2, 2])
    return images, labels if kind == "hard" else nn.functional.one_hot(labels, K) * 0.9 + 0.1 / K


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def gradients(step: nn.Module, inputs: tuple[Tensor, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Values and gradients of one step, its dice thrown alike."""
    torch.manual_seed(2)
    step.zero_grad()
    values = step(*inputs)
    values["loss"].backward()
    return values, {n: p.grad.clone() for n, p in step.named_parameters() if p.grad is not None}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Within 1e-4 of each tensor's own size; of the largest where a gradient is nothing but rounding."""
    assert list(found) == list(expected)
    largest = max(float(value.detach().norm()) for value in expected.values())
    for name, value in expected.items():
        error = float((found[name] - value).detach().norm())
        assert error <= 1e-4 * float(value.detach().norm()) + 1e-6 * largest, (name, error)


def check_step(name: str, backend: str) -> None:
    eager = step_of(name)
    inputs = batch("hard")
    compiled = Compiled(copy.deepcopy(eager), backend)
    values, found = gradients(compiled, inputs)
    expected_values, expected = gradients(eager, inputs)
    assert_close(values, expected_values)
    assert_close({n.removeprefix("module."): g for n, g in found.items()}, expected)
    with torch._dynamo.config.patch(error_on_recompile=True):
        gradients(compiled, inputs)
    assert graphs() == 1
    assert not counters["graph_break"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "clan" else pytest.mark.slow) for name in METHOD_SPECS]
)
def test_a_step_computes_what_it_does_without(name: str) -> None:
    check_step(name, "aot_eager")


@pytest.mark.slow
@every_method
def test_a_step_computes_what_it_does_without_by_inductor(name: str) -> None:
    check_step(name, "inductor")


@pytest.mark.parametrize(
    ("name", "kind", "dtype"),
    [
        ("reaps", "soft", torch.bfloat16),
        *(
            pytest.param(name, "soft", torch.bfloat16, marks=pytest.mark.slow)
            for name in METHOD_SPECS
            if name != "reaps"
        ),
    ],
)
def test_labels_and_precision_make_one_graph_too(name: str, kind: str, dtype: torch.dtype) -> None:
    eager, inputs = step_of(name), batch(kind)
    compiled = Compiled(copy.deepcopy(eager), "aot_eager")
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        values, found = gradients(compiled, inputs)
        expected_values, expected = gradients(eager, inputs)
        with torch._dynamo.config.patch(error_on_recompile=True):
            gradients(compiled, inputs)
    tolerance = 3e-2 if dtype == torch.bfloat16 else 1e-4
    for key, value in expected_values.items():
        torch.testing.assert_close(values[key], value, rtol=tolerance, atol=1e-6)
    assert {name.removeprefix("module.") for name in found} == set(expected)
    assert graphs() == 1


def learner(photos: Path, method: str, *sets: str) -> Learner:
    spec = small_spec(photos, method, "train.compile=true", *sets)
    return Learner.build(spec, 3, CPU, steps_per_epoch=3, load_weights=False)


@pytest.mark.parametrize(("method", "stages"), [("scapnet", 2), pytest.param("tdsa", 1, marks=pytest.mark.slow)])
def test_one_graph_a_stage(photos: Path, monkeypatch: pytest.MonkeyPatch, method: str, stages: int) -> None:
    """Steps of several epochs, gradients of two batches added up: a method with stages has a graph in each of them."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    staged = ("method.two_stage=1", "method.gate=off") if stages == 2 else ()
    own = learner(photos, method, *staged, "optim.accumulate=2", "optim.clip_norm=1", "train.ema_decay=0.9")
    images = random_batch(4, SIZE, 3, CPU)
    begun = 0
    with torch._dynamo.config.patch(error_on_recompile=True):
        for epoch in range(own.spec.train.epochs):
            own.begin_epoch(epoch)
            own.method.train()
            begun += own.fresh
            for _ in range(3):
                own.backward(images, complete=False)
                own.backward(images)
                own.update()
                assert not own.fresh
            with torch.inference_mode():
                own.measured.eval()(images.images)
                own.measured(images.images)
    assert begun == stages
    assert graphs() == 2 * stages  # of the step, and of what is measured
    assert not counters["graph_break"]
    assert list(own.state()["method"]) == list(own.method.state_dict())
    assert not [name for name in own.method.state_dict() if "module" in name or "orig" in name]


def test_a_smaller_batch_runs_as_it_is() -> None:
    module = nn.Linear(3, 2)
    compiled = Compiled(module, "eager")
    assert compiled.fresh
    whole, last = torch.randn(4, 3), torch.randn(1, 3)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for images in (whole, last, whole, last):
            assert torch.equal(compiled(images), module(images))
    assert graphs() == 1
    assert list(dict(compiled.named_parameters())) == ["module.weight", "module.bias"]


class Odd(nn.Module):
    """What no graph can hold."""

    def forward(self, images: Tensor) -> Tensor:
        return images * float(images.sum().tolist() > id(images.numpy()))


def test_what_cannot_be_compiled_is_said_in_one_line() -> None:
    with pytest.raises(FgvcError, match="leave --compile out") as told:
        Compiled(Odd(), "eager")(torch.ones(2, 2))
    assert "\n" not in str(told.value)


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    check_compiler(CPU)
    monkeypatch.setenv("CXX", "/nowhere/g++-99")
    with pytest.raises(BadRequest, match=r"/nowhere/g\+\+-99 is not there: .*leave --compile out"):
        check_compiler(CPU)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BadRequest, match=r"C\+\+ compiler"):
        check_compiler(CPU)
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadRequest, match="Triton"):
        check_compiler(torch.device("cuda"))


def trained(spec, out: Path) -> str:
    told = io.StringIO()
    train(spec, out, Console(file=told, width=200))
    return told.getvalue()


def test_a_compiled_run_is_the_same_run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a back end that computes what the network does: bit for bit the run without; killed and resumed as well."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    sets = ("data.val_fraction=0.3", "train.checkpoint_every=1")
    spec = small_spec(photos, "baseline", "train.compile=true", *sets)
    said = trained(spec, tmp_path / "compiled")
    assert said.count("compiling the training step, once") == 1
    assert said.count("compiling the network, once") == 1
    trained(small_spec(photos, "baseline", *sets), tmp_path / "plain")
    assert_same_run(tmp_path / "plain", tmp_path / "compiled")
    with monkeypatch.context() as patch:
        kill_after(patch, 2)
        with pytest.raises(Killed):
            train(spec, tmp_path / "killed", Console(quiet=True))
    resume(tmp_path / "killed", Machine(compile=False), Console(quiet=True))
    assert_same_run(tmp_path / "plain", tmp_path / "killed")
    before = evaluate_run(RunFolder(tmp_path / "plain"), EvalRequest(batch_size=4), Console(quiet=True))
    counters.clear()
    after = evaluate_run(RunFolder(tmp_path / "plain"), EvalRequest(batch_size=4, compile=True), Console(quiet=True))
    assert graphs() == 1  # of 4 + 4 + 1 images
    assert after["images"] == 9
    assert after["branches"] == before["branches"]
    assert after["loss"] == pytest.approx(before["loss"], rel=1e-6)


@pytest.mark.slow
def test_a_killed_run_compiled_by_inductor_ends_the_same(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit on the CPU; and within rounding it is the run without a compiler."""
    spec = small_spec(photos, "reaps", "train.compile=true", "optim.lr=0.001")
    trained(spec, tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill_after(patch, 6)
        with pytest.raises(Killed):
            train(spec, tmp_path / "killed", Console(quiet=True))
    resume(tmp_path / "killed", Machine(), Console(quiet=True))
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    trained(small_spec(photos, "reaps", "optim.lr=0.001"), tmp_path / "plain")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "plain"))
    assert list(one) == list(two)
    assert all(torch.allclose(one[name].float(), two[name].float(), rtol=1e-2, atol=1e-3) for name in one)
