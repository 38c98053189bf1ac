"""Parameters and multiply-adds of a method, counted on the meta device, so without memory or weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fgvc_cli.methods import build_method
from fgvc_cli.methods.sizes import check_image_size
from fgvc_cli.spec.run import RunSpec


@dataclass(frozen=True)
class ModuleCount:
    """One module of a method: its parameters and the multiply-adds of one image through it."""

    name: str
    kind: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """Result of `fgvc summary`. Multiply-adds are those of convolutions, matrix products and attention."""

    modules: tuple[ModuleCount, ...]
    parameters: int
    trainable: int
    multiply_adds: int


def summarize(spec: RunSpec, num_classes: int) -> Summary:
    """Count the spec's method for K classes: one image of its image size, in evaluation mode.

    Raises:
        BadRequest: the method does not run at that size.
    """
    try:
        return _summary(spec, num_classes)
    except Exception:
        check_image_size(spec, num_classes)
        raise


def _summary(spec: RunSpec, num_classes: int) -> Summary:
    with torch.device("meta"):
        method, _ = build_method(spec, num_classes, load_weights=False)
    method.eval()
    size = spec.data.side
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        method(torch.zeros(1, 3, size, size, device="meta"))
    root = type(method).__name__
    flops = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    modules = tuple(
        ModuleCount(path, type(module).__name__, _size(module), flops.get(f"{root}.{path}", 0) // 2)
        for path, module in _networks(method)
    )
    trainable = sum(p.numel() for p in method.parameters() if p.requires_grad)
    return Summary(modules, _size(method), trainable, counter.get_total_flops() // 2)


def _networks(method: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A method's modules by path; of a list or dict of modules its members, since the container is never called."""
    for name, module in method.named_children():
        if isinstance(module, nn.ModuleDict | nn.ModuleList):
            yield from ((f"{name}.{inner}", part) for inner, part in module.named_children())
        else:
            yield name, module


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
