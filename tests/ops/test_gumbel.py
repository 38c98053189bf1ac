"""Gates beside literal loops: SCAPNet Eq. 5 and 6."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fgvc_cli.ops.gumbel import gumbel_noise, keep_gate, straight_through


def log_probs(batch: int = 4, cells: int = 9) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(batch, cells, 2, dtype=torch.float64).log_softmax(-1)


def test_the_noise_is_gumbels() -> None:
    """Mean γ, variance π²/6, and P(g < 0) = 1/e."""
    torch.manual_seed(0)
    noise = gumbel_noise(torch.empty(200_000))
    assert noise.mean() == pytest.approx(0.5772, abs=0.01)
    assert noise.var() == pytest.approx(math.pi**2 / 6, abs=0.03)
    assert (noise < 0).float().mean() == pytest.approx(math.exp(-1), abs=0.005)


def test_a_uniform_number_of_zero_gives_a_finite_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, device: torch.zeros(shape, device=device))
    assert gumbel_noise(torch.empty(3)).isfinite().all()


def test_cells_are_kept_as_often_as_their_probability() -> None:
    torch.manual_seed(0)
    s = torch.tensor([0.7, 0.3]).log().expand(100_000, 1, 2)
    assert keep_gate(s, noise=gumbel_noise(s)).mean() == pytest.approx(0.3, abs=0.005)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("noisy", [False, True])
def test_the_gate_equals_the_literal_loop(noisy: bool, temperature: float) -> None:
    s = log_probs()
    noise = gumbel_noise(s).double() if noisy else None
    hard = keep_gate(s, noise=noise, temperature=temperature)
    soft = keep_gate(s, noise=noise, temperature=temperature, hard=False)
    for b in range(4):
        for i in range(9):
            drop, keep = (float(s[b, i, k]) + (0 if noise is None else float(noise[b, i, k])) for k in (0, 1))
            assert hard[b, i] == (1 if keep > drop else 0)
            above, below = math.exp(keep / temperature), math.exp(drop / temperature)
            assert float(soft[b, i]) == pytest.approx(above / (above + below))


@pytest.mark.parametrize("never_empty", [False, True])
def test_the_hard_gates_gradient_is_the_soft_ones(never_empty: bool) -> None:
    s, noise, weight = log_probs().requires_grad_(), gumbel_noise(log_probs()).double(), torch.randn(4, 9).double()
    hard = keep_gate(s, noise=noise, temperature=0.7, never_empty=never_empty)
    soft = keep_gate(s, noise=noise, temperature=0.7, hard=False)
    gradients = [torch.autograd.grad((gate * weight).sum(), s)[0] for gate in (hard, soft)]
    assert torch.equal(*gradients)
    assert gradients[0].any()


def test_straight_through_keeps_the_value_to_the_bit() -> None:
    torch.manual_seed(0)
    hard, soft = (torch.rand(10_000) < 0.5).float(), torch.rand(10_000, requires_grad=True)
    assert torch.equal(straight_through(hard, soft), hard)


def test_gradcheck() -> None:
    noise = gumbel_noise(log_probs(2, 3)).double()
    s = log_probs(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: keep_gate(x, noise=noise, hard=False, temperature=0.8), s)


def test_an_image_that_keeps_nothing_keeps_its_best_cell() -> None:
    keep = torch.tensor([[0.1, 0.4, 0.2], [0.4, 0.4, 0.1], [0.1, 0.9, 0.8], [0.5, 0.5, 0.5]]).double()
    s = torch.stack([1 - keep, keep], -1).log()
    assert keep_gate(s).tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert keep_gate(s, never_empty=True).tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 0]]
