"""What the methods' test files share beside fixtures."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fgvc_cli.methods.base import Method

Build = Callable[..., Method]


def images(batch: int = 3, height: int = 64, width: int = 64) -> Tensor:
    """(batch, 3, height, width) of noise, the same every time."""
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(3))


def literal_cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """The mean over images, value by value in float64."""
    rows = zip(logits.double().tolist(), labels.tolist(), strict=True)
    terms = [math.log(sum(math.exp(value) for value in row)) - row[label] for row, label in rows]
    return sum(terms) / len(terms)


def fit(method: Method, batch: Tensor, labels: Tensor, steps: int) -> None:
    """Train on one batch; the method stays in training mode."""
    method.train()
    optimizer = torch.optim.AdamW(method.parameters(), 2e-3)
    torch.manual_seed(0)  # of a method's own dice
    for _ in range(steps):
        loss = torch.stack(list(method.losses(method(batch), labels).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
