"""Regularisation: label smoothing, mixup, CutMix."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fgvc_cli.spec.base import Spec


class RegulariseSpec(Spec):
    """Label smoothing, and mixing of an image with another of its batch; all off by default.

    Sources: label smoothing, arXiv 1512.00567, section 7; mixup, arXiv 1710.09412; CutMix, arXiv 1905.04899.
    """

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="fraction of a label spread evenly over all classes")
    mixup_alpha: float = Field(0.0, ge=0, le=100, description="mixup: α of λ ~ Beta(α, α); 0: off")
    cutmix_alpha: float = Field(
        0.0, ge=0, le=100, description="CutMix: α of λ ~ Beta(α, α), pasting a box of area 1 - λ; 0: off"
    )
    mix_probability: float = Field(1.0, ge=0, le=1, description="probability of mixing, per image")

    level_weights: tuple[Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)], ...] = Field(
        (),
        max_length=64,
        description="weights of the losses of the levels above the classes, the highest first: the cross entropy of "
        "the true taxon's probability, the sum over its classes; none: the method's own losses alone",
    )

    @property
    def mixes(self) -> bool:
        """Whether any image is mixed with another."""
        return self.mix_probability > 0 and max(self.mixup_alpha, self.cutmix_alpha) > 0
