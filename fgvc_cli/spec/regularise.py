"""What keeps a run from learning its training images by heart: label smoothing, mixup, CutMix."""

from __future__ import annotations

from pydantic import Field

from fgvc_cli.spec.base import Spec


class RegulariseSpec(Spec):
    """Labels that are softened and images that are mixed with others of their batch; all off by default.

    Sources: label smoothing, arXiv 1512.00567, section 7; mixup, arXiv 1710.09412; CutMix, arXiv 1905.04899.
    """

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of a label spread evenly over all classes")
    mixup_alpha: float = Field(0.0, ge=0, le=100, description="blend two images by λ of Beta(α, α); 0: off")
    cutmix_alpha: float = Field(0.0, ge=0, le=100, description="paste a box of 1 - λ of another image; 0: off")
    mix_probability: float = Field(1.0, ge=0, le=1, description="share of the images that are mixed")

    @property
    def mixes(self) -> bool:
        """Whether any image is mixed with another."""
        return self.mix_probability > 0 and max(self.mixup_alpha, self.cutmix_alpha) > 0
