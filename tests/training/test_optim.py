from __future__ import annotations

import math

import pytest
import torch

from fgvc_cli.backbones import build_backbone
from fgvc_cli.methods.baseline import Baseline
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.optim import AdamW, Constant, Cosine, MultiStep, OptimSpec, Sgd, Step
from fgvc_cli.training.optim import begin_momentum, build_optimizer
from fgvc_cli.training.schedule import build_scheduler, rate_factor


def rates(spec: OptimSpec, epochs: int, steps: int, starts: tuple[int, ...] = (0,)) -> list[float]:
    """The rate of every step, as an optimizer sees it."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=spec.lr)
    scheduler = build_scheduler(optimizer, spec, epochs, steps, starts)
    seen = []
    for _ in range(epochs * steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_reaps_step_decay_changes_exactly_at_the_epoch() -> None:
    seen = rates(OptimSpec(lr=0.001, schedule=Step(every=60, gamma=0.1)), 180, 7)
    for epoch, rate in ((0, 1e-3), (59, 1e-3), (60, 1e-4), (119, 1e-4), (120, 1e-5), (179, 1e-5)):
        assert seen[epoch * 7 : epoch * 7 + 7] == pytest.approx([rate] * 7)


def test_exponential_every_two_epochs() -> None:
    seen = rates(OptimSpec(lr=0.01, schedule=Step(name="exponential", every=2, gamma=0.9)), 6, 3)
    assert seen[::3] == pytest.approx([0.01 * 0.9 ** (epoch // 2) for epoch in range(6)])


def test_multistep() -> None:
    factor = rate_factor(OptimSpec(schedule=MultiStep(milestones=(150, 225), gamma=0.1)), 300)
    assert [factor(e) for e in (0, 149, 150, 224, 225, 299)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_cosine_goes_from_one_to_final() -> None:
    factor = rate_factor(OptimSpec(schedule=Cosine(final=0.1)), 100)
    assert factor(0) == pytest.approx(1)
    assert factor(50) == pytest.approx(0.55)
    assert factor(100) == pytest.approx(0.1)
    assert factor(25) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)


def test_warm_up_rises_linearly_and_never_is_zero() -> None:
    factor = rate_factor(OptimSpec(schedule=Constant(), warmup_epochs=4), 10)
    assert factor(0) > 0
    assert [factor(e) for e in (1, 2, 3, 4, 9)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])


@pytest.mark.parametrize("schedule", [Step(every=2, gamma=0.3), Cosine(), MultiStep(milestones=(1, 3)), Constant()])
@pytest.mark.parametrize("warmup", [0.0, 1.5])
def test_each_stage_runs_the_whole_schedule_over_its_own_length(schedule, warmup) -> None:
    spec = OptimSpec(lr=0.01, schedule=schedule, warmup_epochs=warmup)
    found = rates(spec, 12, 7, (0, 5))
    assert found == pytest.approx(rates(spec, 5, 7) + rates(spec, 7, 7))
    assert rates(spec, 12, 7, (0,)) == rates(spec, 12, 7)


def test_the_rate_is_scaled_only_on_request() -> None:
    assert OptimSpec(lr=0.1, accumulate=4).rate(batch_size=64) == 0.1
    assert OptimSpec(lr=0.1, lr_images=256).rate(batch_size=64) == pytest.approx(0.025)
    assert OptimSpec(lr=0.1, lr_images=256, accumulate=8).rate(batch_size=64) == pytest.approx(0.2)
    method = Baseline(BaselineSpec(), build_backbone("tiny"), 3, 32)
    for chosen in (Sgd(), AdamW()):
        optimizer = build_optimizer(method, OptimSpec(optimizer=chosen, lr=0.1, lr_images=256), batch_size=64)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.025])


@pytest.mark.parametrize("nesterov", [False, True])
def test_fused_sgd_after_an_overflow_of_the_loss_scaling(nesterov) -> None:
    """On a GPU fp16's first steps overflow and are skipped; what comes after must be stock SGD."""

    def begun(fused: bool) -> tuple[torch.nn.Parameter, torch.optim.SGD]:
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 4096))
        return weight, torch.optim.SGD(
            [weight], lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=nesterov, fused=fused
        )

    def step(
        optimizer: torch.optim.SGD, scaler: torch.amp.GradScaler, weight: torch.nn.Parameter, times: float
    ) -> None:
        optimizer.zero_grad()
        scaler.scale((weight**2).sum() * times).backward()
        scaler.step(optimizer)
        scaler.update()

    stock, optimizer = begun(False)
    fused, fast = begun(True)
    begin_momentum(fast)
    scalers = torch.amp.GradScaler("cpu"), torch.amp.GradScaler("cpu")
    for times in (float("inf"), 1.0, float("inf"), 1.0):
        step(optimizer, scalers[0], stock, times)
        step(fast, scalers[1], fused, times)
        torch.testing.assert_close(fused, stock)
