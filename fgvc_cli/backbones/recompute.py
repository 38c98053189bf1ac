"""Gradient checkpointing: the backward pass computes activations again, so they need not be stored.

Bit-equal to training without it: the second computation does not update BatchNorm statistics. Chen et al., Training
Deep Nets with Sublinear Memory Cost, https://arxiv.org/abs/1604.06174
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Unit = tuple[nn.Module, ...]


def in_a_row(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Apply the modules one after another, each to the output of the one before."""
    for module in modules:
        x = module(x)
    return x


def in_units(modules: Sequence[nn.Module], x: Tensor, *, random: bool) -> Tensor:
    """As `in_a_row`, but only the input of each unit is stored for the backward pass.

    Args:
        modules: run in this order.
        x: input of the first module.
        random: whether any of them uses random numbers; then the generator's state is restored for the second run.
    """
    for unit in units(modules):
        x = _recomputed(unit, x, random=random)
    return x


def units(modules: Sequence[nn.Module]) -> list[Unit]:
    """Group modules into units, each of which is recomputed as a whole.

    Each block of a stage is one unit. Single layers (a stem, or all of a VGG) are grouped up to and including a pooling
    layer, after which the map to store has a quarter of the size.
    """
    found: list[Unit] = []
    run: list[nn.Module] = []
    for module in modules:
        if _is_layer(module):
            run.append(module)
            if not isinstance(module, nn.MaxPool2d):
                continue
        found += [tuple(run)] if run else []
        run = []
        if not _is_layer(module):
            found += [(block,) for block in _blocks(module)]
    return [*found, tuple(run)] if run else found


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The blocks of a stage. A Sequential of single layers, or any other module, is one block."""
    children = list(module.children())
    whole = not isinstance(module, nn.Sequential) or any(_is_layer(child) for child in children)
    return [module] if whole else children


def _is_layer(module: nn.Module) -> bool:
    """Whether there is no convolution or linear layer inside; so a BatchNorm that contains an activation is a layer."""
    return not any(isinstance(part, nn.Conv2d | nn.Linear) for part in module.modules() if part is not module)


def _recomputed(unit: Unit, x: Tensor, *, random: bool) -> Tensor:
    def run(value: Tensor) -> Tensor:
        return in_a_row(unit, value)

    if torch.compiler.is_compiling():  # the compiler does not repeat buffer updates when it recomputes
        compiled: Tensor = checkpoint(run, x, use_reentrant=False, preserve_rng_state=random)
        return compiled

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _untouched_buffers(unit)

    kept: Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]] = contexts
    result: Tensor = checkpoint(run, x, use_reentrant=False, preserve_rng_state=random, context_fn=kept)
    return result


@contextmanager
def _untouched_buffers(unit: Unit) -> Iterator[None]:
    """Inside the context, modules write to copies of their buffers, since BatchNorm has counted these images already.

    Otherwise the layers run unchanged: they must save tensors of the same number and shape for the backward pass.
    """
    parts = [part for module in unit for part in module.modules()]
    own = [(part, name, value) for part in parts for name, value in part._buffers.items() if value is not None]
    for part, name, value in own:
        part._buffers[name] = value.clone()
    try:
        yield
    finally:
        for part, name, value in own:
            part._buffers[name] = value
