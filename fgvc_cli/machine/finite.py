"""Checks that losses and weights are finite, so that only finite values are saved in checkpoints and models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fgvc_cli.errors import FgvcError

_ADVICE = (
    "start again with a smaller --lr, --set optim.clip_norm=1 or --precision fp32; "
    "the last checkpoint before it is intact"
)


def check_values(values: Mapping[str, float]) -> None:
    """FgvcError if one of the named losses is not finite."""
    wrong = ", ".join(name for name, value in values.items() if not math.isfinite(value))
    if wrong:
        raise FgvcError(f"the loss is no longer finite ({wrong}): {_ADVICE}")


def check_tensors(tree: Mapping[str, Any]) -> None:
    """FgvcError if a floating-point tensor in nested state dicts is not finite. The device is read only once."""
    found = {name: tensor for name, tensor in _tensors(tree, "") if tensor.is_floating_point()}
    if not found:
        return
    # The results are collected on the accelerator if there is one; optimizers keep some counters on the CPU.
    device = max((tensor.device for tensor in found.values()), key=lambda device: device.type != "cpu")
    finite = torch.stack([tensor.isfinite().all().to(device, non_blocking=True) for tensor in found.values()]).tolist()
    wrong = [name for name, good in zip(found, finite, strict=True) if not good]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise FgvcError(f"the weights are no longer finite ({wrong[0]}{more}): {_ADVICE}")


def _tensors(tree: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested mappings and lists, under its path."""
    if isinstance(tree, Tensor):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _tensors(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from _tensors(value, f"{path}.{number}" if path else str(number))
