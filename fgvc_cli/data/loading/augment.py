"""torchvision's augmentations of one image, drawn from that image's own generator.

Its classes draw from the global generator, which belongs to the whole process: seeding it for each image would disturb
what the network draws, and threads would disturb each other. Here every draw is handed the image's generator instead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torchvision.transforms import v2

from fgvc_cli.spec.data import DataSpec

_DRAWS = frozenset(
    {
        torch.rand,
        torch.randn,
        torch.randint,
        torch.randperm,
        torch.normal,
        torch.bernoulli,
        torch.multinomial,
        torch.Tensor.uniform_,
        torch.Tensor.normal_,
        torch.Tensor.random_,
        torch.Tensor.bernoulli_,
        torch.Tensor.exponential_,
    }
)


class DrawingFrom(TorchFunctionMode):
    """Within this context, and this thread, PyTorch draws from `generator` instead of the global one."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by PyTorch for every function of its own."""
        kwargs = kwargs or {}
        return func(*args, **({"generator": self.generator} | kwargs if func in _DRAWS else kwargs))


def augment(image: Tensor, spec: DataSpec, generator: torch.Generator) -> Tensor:
    """(3, S, S) uint8 → the same shape: the spec's policy, then erasing. Draws nothing where both are off.

    Sources: RandAugment, arXiv 1909.13719; TrivialAugment, arXiv 2103.10158; random erasing, arXiv 1708.04896.
    """
    transforms = _transforms(spec)
    if not transforms:
        return image
    with DrawingFrom(generator):
        for transform in transforms:
            image = transform(image)
    return image


@functools.lru_cache(maxsize=8)
def _transforms(spec: DataSpec) -> tuple[Callable[[Tensor], Tensor], ...]:
    found: list[Callable[[Tensor], Tensor]] = []
    grey = [round(255 * mean) for mean in spec.mean]  # what is about 0 to the network
    if spec.augment == "randaugment":
        found.append(v2.RandAugment(spec.augment_operations, spec.augment_magnitude, fill=grey))
    elif spec.augment == "trivialaugment":
        found.append(v2.TrivialAugmentWide(fill=grey))
    if spec.erasing:
        found.append(v2.RandomErasing(spec.erasing, value=grey))
    return tuple(found)
