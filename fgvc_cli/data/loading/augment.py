"""torchvision's augmentations of one image, with a random generator for each image.

torchvision's classes use the global random generator, which the whole process shares. Seeding it for each image would
change the network's random numbers, and threads would change each other's. Here every function that makes random
numbers is given the image's generator instead.
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

_RANDOM_FUNCTIONS = frozenset(
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


class UseGenerator(TorchFunctionMode):
    """Inside this context, in this thread, PyTorch's random functions use `generator` instead of the global one."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """PyTorch calls this for every function of its own."""
        kwargs = kwargs or {}
        return func(*args, **({"generator": self.generator} | kwargs if func in _RANDOM_FUNCTIONS else kwargs))


def augment(image: Tensor, spec: DataSpec, generator: torch.Generator) -> Tensor:
    """(3, S, S) uint8 → the same shape: the spec's policy, then erasing. Uses no random number if both are off.

    Sources: RandAugment, arXiv 1909.13719; TrivialAugment, arXiv 2103.10158; random erasing, arXiv 1708.04896.
    """
    transforms = _transforms(spec)
    if not transforms:
        return image
    with UseGenerator(generator):
        for transform in transforms:
            image = transform(image)
    return image


@functools.lru_cache(maxsize=8)
def _transforms(spec: DataSpec) -> tuple[Callable[[Tensor], Tensor], ...]:
    found: list[Callable[[Tensor], Tensor]] = []
    grey = [round(255 * mean) for mean in spec.normalisation[0]]  # about 0 after normalisation
    if spec.augment == "randaugment":
        found.append(v2.RandAugment(spec.augment_operations, spec.augment_magnitude, fill=grey))
    elif spec.augment == "trivialaugment":
        found.append(v2.TrivialAugmentWide(fill=grey))
    if spec.erasing:
        found.append(v2.RandomErasing(spec.erasing, value=grey))
    return tuple(found)
