"""The backbone's name and starting weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fgvc_cli.spec.base import Spec

TORCHVISION_NAMES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
)
BACKBONE_NAMES = ("tiny", *TORCHVISION_NAMES)
TIMM_PREFIX = "timm:"
HUB_PREFIX = "hf-hub:"
AUTO_BACKBONE = "auto"


class BackboneSpec(Spec):
    """The backbone's name and its starting weights."""

    name: str = Field(
        "resnet50",
        description="`tiny`, a torchvision resnet or vgg, timm:NAME, or auto: the best trained one "
        "that this machine can fetch and run",
    )
    weights: str = Field(
        "imagenet",
        description="imagenet, none, a .pth or .safetensors file, a folder of a run or in the hub's layout, or "
        "hf-hub:OWNER/NAME[@REVISION]",
    )
    plain_epochs: int = Field(
        0, ge=0, le=100_000, description="first train the baseline this many epochs on the same data, and start from it"
    )

    freeze: Literal["none", "all"] | Annotated[int, Field(ge=0, le=1000)] = Field(
        "none", description="train nothing of the backbone up to this many maps from the image; all: only what is new"
    )
    frozen_epochs: int = Field(
        0, ge=0, le=100_000, description="first epochs in which the backbone rests while what is new is trained"
    )
    frozen_norm: bool = Field(
        False,
        description="BatchNorm layers keep the statistics of the starting weights, as small batches give poor ones; "
        "their weights and biases are trained",
    )
    probe_first: bool = Field(
        False,
        description="first fit every classifier of the method to what it reads with the starting weights, then "
        "fine-tune (LP-FT, Kumar et al. 2022)",
    )
    views: int = Field(
        0,
        ge=0,
        le=1000,
        description="with freeze all: augmented views of each training image whose features are computed, beside the "
        "plain one",
    )
    drop_path: float | None = Field(
        None, ge=0, lt=1, description="timm: rate of stochastic depth; none: the network's default"
    )

    @property
    def keeps_statistics(self) -> bool:
        """Whether BatchNorm layers stay in evaluation mode; a random start has no statistics to keep."""
        return self.frozen_norm and self.weights != "none"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name in (AUTO_BACKBONE, *BACKBONE_NAMES) or (name.startswith(TIMM_PREFIX) and len(name) > len(TIMM_PREFIX)):
            return name
        raise ValueError(f"no backbone is called {name!r}; there are {', '.join(BACKBONE_NAMES)}, timm:NAME and auto")

    @field_validator("weights")
    @classmethod
    def _not_empty(cls, weights: str) -> str:
        if not weights.strip():
            raise ValueError("must be imagenet, none, a file or a run folder")
        return weights
