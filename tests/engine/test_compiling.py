"""Compiled steps: one graph, the same numbers, the same run folder. Cheap back ends, but for the slow tests."""

from __future__ import annotations

import copy
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn
from torch._dynamo.utils import counters

from fgvc_cli.backbones import build_backbone
from fgvc_cli.engine import compiling
from fgvc_cli.engine.compiling import Compiled, check_compiler
from fgvc_cli.engine.evaluate import EvalRequest, evaluate_run
from fgvc_cli.engine.learner import Learner, StepModule, random_batch
from fgvc_cli.engine.runfolder import RunFolder
from fgvc_cli.engine.train import Machine, resume, train
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.methods import METHODS
from fgvc_cli.spec.methods import METHOD_SPECS
from tests.conftest import small_spec
from tests.engine.test_train import Killed, assert_same_run, kill_after

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


@every_method
def test_a_step_computes_what_it_does_without(name: str) -> None:
    check_step(name, "aot_eager")


@pytest.mark.slow
@every_method
def test_a_step_computes_what_it_does_without_by_inductor(name: str) -> None:
    check_step(name, "inductor")
