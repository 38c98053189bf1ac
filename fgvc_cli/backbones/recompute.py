"""Gradient checkpointing: activations that the backward pass computes again instead of finding them kept.

Exact to the bit: what is computed twice is counted once. Chen et al., Training Deep Nets with Sublinear Memory Cost,
https://arxiv.org/abs/1604.06174
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Unit = tuple[nn.Module, ...]


def in_a_row(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Each module on what the one before it returned."""
    for module in modules:
        x = module(x)
    return x


def in_units(modules: Sequence[nn.Module], x: Tensor, *, random: bool) -> Tensor:
    """As `in_a_row`, keeping for the backward pass only what each unit is given.

    Args:
        modules: run in this order.
        x: what the first of them is given.
        random: whether any of them draws numbers, which must come out the same the second time.
    """
    for unit in units(modules):
        x = _recomputed(unit, x, random=random)
    return x


def units(modules: Sequence[nn.Module]) -> list[Unit]:
    """Modules in the stretches that are computed again as one.

    The blocks of a stage are one each. Single layers (a stem, all of a VGG) are taken together up to a pooling, after
    which the map is a quarter of the size to keep.
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
    """The blocks of a stage; a sequence of layers is a block of its own, as any other module."""
    children = list(module.children())
    whole = not isinstance(module, nn.Sequential) or any(_is_layer(child) for child in children)
    return [module] if whole else children


def _is_layer(module: nn.Module) -> bool:
    """Whether there is no convolution or product inside; BatchNorm with an activation in it is one layer."""
    return not any(isinstance(part, nn.Conv2d | nn.Linear) for part in module.modules() if part is not module)


def _recomputed(unit: Unit, x: Tensor, *, random: bool) -> Tensor:
    def run(value: Tensor) -> Tensor:
        return in_a_row(unit, value)

    if torch.compiler.is_compiling():  # the compiler takes what a module writes out of what it computes again
        compiled: Tensor = checkpoint(run, x, use_reentrant=False, preserve_rng_state=random)
        return compiled

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _untouched_buffers(unit)

    kept: Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]] = contexts
    result: Tensor = checkpoint(run, x, use_reentrant=False, preserve_rng_state=random, context_fn=kept)
    return result


@contextmanager
def _untouched_buffers(unit: Unit) -> Iterator[None]:
    """Within, modules write to copies of their buffers: BatchNorm's statistics have counted these images already.

    The layers themselves run as before: what they save for the backward pass must be the same in number and shape.
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
