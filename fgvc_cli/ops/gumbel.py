"""Two-class gates: Gumbel noise and the straight-through estimator."""

from __future__ import annotations

import torch
from torch import Tensor


def gumbel_noise(like: Tensor) -> Tensor:
    """Standard Gumbel noise of `like`'s shape, float32, from the default random generator of its device.

    The cumulative distribution function is exp(-exp(-g)). Uniform samples of exactly 0 are raised above 0.
    """
    uniform = torch.rand(like.shape, device=like.device).clamp_min(torch.finfo(torch.float32).tiny)
    return -(-uniform.log()).log()


def straight_through(forward: Tensor, backward: Tensor) -> Tensor:
    """The exact value of `forward` with the gradient of `backward` (same shape).

    Source: Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons,
    https://arxiv.org/abs/1308.3432
    """
    return forward.detach() + (backward - backward.detach())


def keep_gate(
    log_probs: Tensor,
    *,
    hard: bool = True,
    noise: Tensor | None = None,
    temperature: float = 1.0,
    never_empty: bool = False,
) -> Tensor:
    """Which of n cells each image keeps (SCAPNet Eq. 5 and 6); class 1 is "keep", equal scores are not kept.

    Args:
        log_probs: (B, n, 2) log s.
        hard: true: 0 or 1 in the forward pass, the soft gate's gradient in the backward pass; false: the soft gate.
        noise: (B, n, 2) Gumbel noise G; None: the result is deterministic.
        temperature: of the soft gate's softmax.
        never_empty: an image that would keep no cell keeps its most probable one (the first of equal ones).

    Returns:
        (B, n) in 0..1, of the dtype of `log_probs`.
    """
    noisy = log_probs if noise is None else log_probs + noise
    soft = (noisy / temperature).softmax(-1)[..., 1]
    if not hard:
        return soft
    kept = noisy[..., 1] > noisy[..., 0]
    if never_empty:
        best = (noisy[..., 1] - noisy[..., 0]).argmax(1, keepdim=True)
        first = torch.arange(kept.shape[1], device=kept.device) == best
        kept = kept | (first & ~kept.any(1, keepdim=True))
    return straight_through(kept.to(soft.dtype), soft)
