"""Multinomial logistic regression with an L2 penalty: many strengths and folds solved side by side.

The objective is scikit-learn's: C · Σ_i w_i · cross_entropy_i + ½ ‖W‖², without a penalty on the bias. It is convex, so
the result does not depend on how it is found: L-BFGS with a step of its own for each problem, in the basis of the
features' principal components, where the curvature is nearly diagonal.

Source: Liu and Nocedal, On the Limited Memory BFGS Method, 1989; the bound on the curvature: Böhning, Multinomial
Logistic Regression Algorithm, 1992.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fgvc_cli.ops.vectors.principal import principal_axes

_BLOCK = 1 << 24  # logits computed at once
_PAIRS = 8  # steps that L-BFGS remembers
_HALVINGS = 12
_DECREASE = 1e-4  # of what the slope promises (Armijo)


@dataclass(frozen=True)
class Fitted:
    """The solutions of P problems with K classes on features of width D."""

    weight: Tensor  # (P, K, D)
    bias: Tensor  # (P, K)
    iterations: int
    converged: Tensor  # (P,) bool

    def logits(self, features: Tensor) -> Tensor:
        """(N, D) → (P, N, K)."""
        return torch.baddbmm(self.bias[:, None], features.expand(len(self.weight), -1, -1), self.weight.mT)


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strengths: Tensor,
    kept: Tensor | None = None,
    *,
    iterations: int = 300,
    tolerance: float = 2e-5,
) -> Fitted:
    """Fit P problems on the same N features.

    Args:
        features: (N, D) float32, finite.
        labels: (N,) int64, 0 to K - 1.
        classes: K.
        strengths: (P,) the C of each problem, above 0: the larger, the weaker the penalty.
        kept: (P, N) weights of the images in each problem, at least 0; None: all 1. A 0 leaves an image out (folds).
        iterations: at most so many.
        tolerance: a problem is solved when no entry of its mean loss's gradient is larger.
    """
    weights = torch.ones(1, 1, device=features.device) if kept is None else kept.to(features)
    weights = weights.expand(len(strengths), len(features))
    basis = _Basis.of(features)
    problem = _Problem(basis.rotated(features), labels, classes, strengths.to(features), weights)
    solution, used, converged = _minimise(problem, iterations, tolerance)
    weight, bias = basis.restored(solution)
    return Fitted(weight, bias, used, converged)


@dataclass(frozen=True)
class _Basis:
    """The principal components of the features. The penalty is the same in any rotation of the features."""

    mean: Tensor  # (D,)
    axes: Tensor  # (D, R), R ≤ min(N, D): where no image lies, a penalised weight is 0

    @classmethod
    def of(cls, features: Tensor) -> _Basis:
        return cls(features.mean(0), principal_axes(features).float().to(features))

    def rotated(self, features: Tensor) -> Tensor:
        """(N, D) → (N, R + 1), the last column being 1 for the bias."""
        return F.pad((features - self.mean) @ self.axes, (0, 1), value=1.0)

    def restored(self, solution: Tensor) -> tuple[Tensor, Tensor]:
        """(P, K, R + 1) → weight (P, K, D) and bias (P, K) for the features as they were."""
        weight = solution[..., :-1] @ self.axes.mT
        return weight, solution[..., -1] - weight @ self.mean


class _Problem:
    """The mean losses of P problems, and their gradients."""

    def __init__(self, inputs: Tensor, labels: Tensor, classes: int, strengths: Tensor, weights: Tensor) -> None:
        self.inputs, self.labels, self.classes = inputs, labels, classes
        total = weights.sum(1, keepdim=True)
        self.shares = weights / total  # (P, N)
        self.penalty = (1 / (strengths[:, None] * total)).repeat(1, inputs.shape[1])  # (P, R + 1)
        self.penalty[:, -1] = 0.0
        self.curvature = 0.5 * inputs.square().mean(0) + self.penalty  # an upper bound, (P, R + 1)

    def __len__(self) -> int:
        return len(self.shares)

    def value(self, solution: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The problems `chosen` (Q,) at `solution` (Q, K, R + 1): values (Q,) and gradients (Q, K, D + 1)."""
        count, width = len(chosen), self.inputs.shape[1]
        flat, loss = solution.reshape(-1, width), solution.new_zeros(count)
        gradient = torch.zeros_like(flat)
        for first in range(0, len(self.inputs), rows := max(1, _BLOCK // len(flat))):
            block = slice(first, first + rows)
            inputs, labels = self.inputs[block], self.labels[block]
            logs = (inputs @ flat.mT).reshape(len(inputs), count, self.classes).log_softmax(2)
            shares, place = self.shares[chosen, block].mT, labels[:, None, None].expand(-1, count, 1)
            loss -= (logs.gather(2, place)[..., 0] * shares).sum(0)
            residual = logs.exp_().scatter_add_(2, place, logs.new_full((1, 1, 1), -1.0).expand(place.shape))
            gradient += residual.mul_(shares[..., None]).reshape(len(inputs), -1).mT @ inputs
        pull = solution * self.penalty[chosen, None]
        return loss + 0.5 * (solution * pull).sum((1, 2)), gradient.reshape(solution.shape) + pull


def _minimise(problem: _Problem, iterations: int, tolerance: float) -> tuple[Tensor, int, Tensor]:
    """L-BFGS on all problems; those that are solved are left alone. Returns solutions, iterations, which converged."""
    everyone = torch.arange(len(problem), device=problem.inputs.device)
    solution = problem.inputs.new_zeros(len(problem), problem.classes, problem.inputs.shape[1])
    value, gradient = problem.value(solution, everyone)
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=_PAIRS)
    for iteration in range(iterations):
        open_ = everyone[gradient.abs().amax((1, 2)) > tolerance]
        if not len(open_):
            return solution, iteration, torch.ones_like(everyone, dtype=torch.bool)
        direction = _direction(gradient, pairs, problem.curvature)
        step, value_new, gradient_new = _search(problem, solution, value, gradient, direction, open_)
        moved, turned = step[:, None, None] * direction, gradient_new - gradient
        product = (moved * turned).sum((1, 2))
        if not bool((step > 0).any()):  # float32 can do no better
            break
        pairs.append((moved, turned, torch.where(product > 0, 1 / product.clamp_min(1e-30), 0.0)))
        solution, value, gradient = solution + moved, value_new, gradient_new
    return solution, iterations, gradient.abs().amax((1, 2)) <= tolerance


def _direction(gradient: Tensor, pairs: deque[tuple[Tensor, Tensor, Tensor]], curvature: Tensor) -> Tensor:
    """The direction of descent (P, K, R + 1): L-BFGS' two loops. A pair whose factor is 0 is not used."""
    direction, factors = -gradient, []
    for moved, turned, inverse in reversed(pairs):
        factor = inverse * (moved * direction).sum((1, 2))
        direction = direction - factor[:, None, None] * turned
        factors.append(factor)
    direction = direction / curvature[:, None] * _scale(pairs, curvature)
    for (moved, turned, inverse), factor in zip(pairs, reversed(factors), strict=True):
        correction = factor - inverse * (turned * direction).sum((1, 2))
        direction = direction + correction[:, None, None] * moved
    return direction


def _scale(pairs: deque[tuple[Tensor, Tensor, Tensor]], curvature: Tensor) -> Tensor | float:
    """How much smaller the curvature was at the last step than the bound: (P, 1, 1)."""
    if not pairs:
        return 1.0
    _, turned, inverse = pairs[-1]
    bounded = (turned.square() / curvature[:, None]).sum((1, 2)) * inverse
    return torch.where(bounded > 0, 1 / bounded.clamp_min(1e-30), 1.0)[:, None, None]


def _search(
    problem: _Problem, start: Tensor, value: Tensor, gradient: Tensor, direction: Tensor, open_: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Steps (P,) that decrease the problems `open_`, 0 for the others; values and gradients after them."""
    slope = (gradient * direction).sum((1, 2))
    step, found_value, found_gradient = torch.zeros_like(value), value.clone(), gradient.clone()
    length, waiting = 1.0, open_
    for _ in range(_HALVINGS):
        new_value, new_gradient = problem.value(start[waiting] + length * direction[waiting], waiting)
        # The last term is float32's rounding of the value.
        promised = value[waiting] + _DECREASE * length * slope[waiting] + 1e-6 * value[waiting].abs()
        good = new_value <= promised
        done = waiting[good]
        step[done], found_value[done], found_gradient[done] = length, new_value[good], new_gradient[good]
        waiting, length = waiting[~good], length / 2
        if not len(waiting):
            break
    return step, found_value, found_gradient
