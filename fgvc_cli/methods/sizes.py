"""Whether a method runs at the image size that is asked for, found before anything is made."""

from __future__ import annotations

from collections.abc import Set
from contextlib import suppress

import torch

from fgvc_cli.errors import BadRequest
from fgvc_cli.methods import build_method
from fgvc_cli.spec.data import LEAST_SIZE, MOST_SIZE
from fgvc_cli.spec.run import RunSpec

_STEPS = (1, 2, 4, 7, 8, 14, 16, 28, 32, 56, 64, 112, 128, 224)  # sizes that networks accept are multiples of one
_TRIED = 16  # sizes on each side, at most


def check_image_size(spec: RunSpec, num_classes: int) -> None:
    """Run the spec's method once, without weights or memory, on an image of the spec's size.

    Raises:
        BadRequest: the method or its backbone refuses that size. The message names the nearest sizes that work.
    """
    reason = _refused(spec, num_classes)
    if reason is None:
        return
    size = spec.data.side
    near = [_nearest(spec, num_classes, {step * (size // step + side) for step in _STEPS}) for side in (0, 1)]
    sizes = " or ".join(str(one) for one in near if one is not None)
    raise BadRequest(
        f"data.image_size: {spec.method.name} with backbone {spec.backbone.name} does not run at {size} pixels "
        f"({reason}): use {f'--image-size {sizes}' if sizes else 'another backbone'}"
    )


def _nearest(spec: RunSpec, num_classes: int, sizes: Set[int]) -> int | None:
    """The size nearest to the spec's at which its method runs; None if it runs at none of these."""
    asked = spec.data.side
    possible = sorted((size for size in sizes if LEAST_SIZE <= size <= MOST_SIZE), key=lambda size: abs(size - asked))
    for size in [size for size in possible if size != asked][:_TRIED]:
        other = spec.model_copy(update={"data": spec.data.model_copy(update={"image_size": size})})
        with suppress(BadRequest):
            if _refused(other, num_classes) is None:
                return size
    return None


def _refused(spec: RunSpec, num_classes: int) -> str | None:
    """Why the method does not run at the spec's size; None if it does.

    A few networks cannot run on the meta device: what fails there is tried on the CPU.
    """
    for device in ("meta", "cpu"):
        try:
            _run(spec, num_classes, device)
        except BadRequest:
            raise
        except Exception as error:  # each network library has its own error types
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        else:
            return None
    return reason


@torch.no_grad()
def _run(spec: RunSpec, num_classes: int, device: str) -> None:
    size = spec.data.side
    with torch.device(device):
        method, _ = build_method(spec, num_classes, load_weights=False)
        method.on_epoch(spec.train.epochs - 1, spec.train.epochs)  # the last stage uses all parts
        method.eval()(torch.empty(1, 3, size, size))
