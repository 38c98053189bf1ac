"""The optimizer of a run."""

from __future__ import annotations

from torch import optim

from fgvc_cli.methods.base import Method
from fgvc_cli.spec.optim import AdamW, OptimSpec


def build_optimizer(method: Method, spec: OptimSpec, batch_size: int) -> optim.Optimizer:
    """Build the spec's optimizer over the method's parameter groups, with the learning rate for `batch_size` images."""
    lr = spec.rate(batch_size)
    groups = method.parameter_groups(lr)
    chosen = spec.optimizer
    # On CUDA one fused kernel updates all weights; unfused, fp16's loss scaling waits for the device. On the CPU the
    # update takes 1 to 2 % of a training step, fused or not.
    fused = True if next(method.parameters()).is_cuda else None
    if isinstance(chosen, AdamW):
        betas = (chosen.beta1, chosen.beta2)
        return optim.AdamW(groups, lr=lr, betas=betas, eps=chosen.eps, weight_decay=spec.weight_decay, fused=fused)
    momentum, nesterov, decay = chosen.momentum, chosen.nesterov, spec.weight_decay
    return optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=fused)
