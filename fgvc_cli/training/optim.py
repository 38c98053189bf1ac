"""The optimizer of a run, and the learning rate and weight decay of every parameter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn, optim

from fgvc_cli.backbones import Backbone, distances, undecayed
from fgvc_cli.methods.base import Method
from fgvc_cli.spec.optim import AdamW, OptimSpec


class Setting(NamedTuple):
    """How a parameter is trained."""

    rate: float  # factor of the run's learning rate
    decayed: bool  # whether it has weight decay


def settings(method: Method, spec: OptimSpec) -> dict[str, Setting]:
    """Parameter name → its setting, in the method's order; without frozen parameters.

    The rate is the product of the method's own factor, and `head_lr` for what is new, or for the backbone's layers
    `layer_decay` to the power of their distance from the top. As in timm, `decay: weights` exempts biases, vectors
    (norms, scales), and what the network's authors exempt.
    """
    own = method.rates()
    inside = {name: found for path, part in _backbones(method) for name, found in _of_backbone(path, part, spec)}
    new = Setting(spec.head_lr, decayed=True)
    result = {}
    for name, value in method.named_parameters():
        if value.requires_grad:
            rate, decayed = inside.get(name, new)
            vector = value.ndim <= 1 or name.endswith(".bias")
            result[name] = Setting(rate * own.get(name, 1.0), spec.decay == "all" or (decayed and not vector))
    return result


def _backbones(method: Method) -> Iterator[tuple[str, Backbone]]:
    return ((path, part) for path, part in method.named_modules() if isinstance(part, Backbone))


def _of_backbone(path: str, backbone: Backbone, spec: OptimSpec) -> Iterator[tuple[str, Setting]]:
    """The settings of a backbone's parameters, but for its fresh layers."""
    far = distances(backbone) if spec.layer_decay is not None else {}
    exempt = undecayed(backbone)
    for name, _ in backbone.trunk.named_parameters():
        if name.rpartition(".")[0] not in backbone.fresh:
            rate = 1.0 if spec.layer_decay is None else spec.layer_decay ** far[name]
            yield f"{path}.trunk.{name}", Setting(rate, name not in exempt)


def parameter_groups(method: Method, spec: OptimSpec, lr: float) -> list[dict[str, Any]]:
    """The optimizer's groups: the parameters of one setting each, in the order in which these first occur."""
    parameters = dict(method.named_parameters())
    groups: dict[Setting, list[nn.Parameter]] = {}
    for name, setting in settings(method, spec).items():
        groups.setdefault(setting, []).append(parameters[name])
    return [
        {"params": group, "lr": lr * setting.rate, "weight_decay": spec.weight_decay if setting.decayed else 0.0}
        for setting, group in groups.items()
    ]


def build_optimizer(method: Method, spec: OptimSpec, batch_size: int) -> optim.Optimizer:
    """Build the spec's optimizer over the method's parameters, with the learning rate for `batch_size` images."""
    lr = spec.rate(batch_size)
    groups = parameter_groups(method, spec, lr)
    chosen = spec.optimizer
    # On CUDA one fused kernel updates all weights; unfused, fp16's loss scaling waits for the device. On the CPU the
    # update takes 1 to 2 % of a training step, fused or not.
    fused = True if next(method.parameters()).is_cuda else None
    if isinstance(chosen, AdamW):
        betas = (chosen.beta1, chosen.beta2)
        return optim.AdamW(groups, lr=lr, betas=betas, eps=chosen.eps, fused=fused)
    sgd = optim.SGD(groups, lr=lr, momentum=chosen.momentum, nesterov=chosen.nesterov, fused=fused)
    if fused and chosen.momentum:
        begin_momentum(sgd)
    return sgd


def begin_momentum(sgd: optim.SGD) -> None:
    """Momentum starts at zero, which is what the first step makes of none.

    Fused, that step takes memory as it finds it for the momentum and leaves it so where fp16's loss scaling has
    overflown and skips the step, as its first steps often do: the next ones are not finite.
    """
    for group in sgd.param_groups:
        for parameter in group["params"]:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
