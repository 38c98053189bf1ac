"""TDSA-Loss (top-down spatial attention) and the mutual-channel loss that it extends."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from fgvc_cli.spec.methods.base import MethodSpec


class ChannelLossSpec(MethodSpec):
    """Fields that both losses on class-aligned channels share."""

    # A fitted classifier leaves little loss from which channels could be shaped (docs/results.md).
    fitted_first: ClassVar[bool] = False

    channels_per_class: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="high-level channels per class; none: the published 3 where 3K is at least half of the backbone's "
        "own channels, else enough to keep these",
    )
    projection: Literal["learned", "none"] = Field(
        "learned", description="learned: layers with as many channels as the classes need; none: the backbone's own"
    )
    diversity_per_channel: bool = Field(
        True, description="divide the diversity (Eq. 5) by a class's channels, as the authors' code does"
    )
    mu: float = Field(1.5, ge=0, description="μ, weight of the losses on channels (Eq. 9); 0: cross entropy alone")
    hidden: int = Field(512, ge=1, le=65536, description="width of the classifier's hidden layer")

    @model_validator(mode="after")
    def _own_channels_are_as_many_as_they_are(self) -> Self:
        if self.projection == "none" and self.channels_per_class is not None:
            raise ValueError("channels_per_class needs projection learned: with none the backbone's own are shared out")
        return self


class McSpec(ChannelLossSpec):
    """Mutual-channel loss (Eq. 1-6): on the high-level channels alone. The row "MC-Loss" of Table II to IV.

    Its own paper weighs L_dis by 1.5 and L_div by 20, which here are μ and μ·λ.
    """

    title: ClassVar[str] = "MC-Loss: mutual-channel loss on class-aligned channels"
    paper: ClassVar[str] = (
        "The Devil is in the Channels: Mutual-Channel Loss for Fine-Grained Image Classification (in TDSA-Loss' tables)"
    )

    name: Literal["mc"] = "mc"
    high_stride: Literal[1, 2] = Field(1, description="stride of a residual network's last stage; VGG's stays")
    lambda_div: float = Field(20 / 1.5, ge=0, description="λ, weight of the diversity (Eq. 1); μ·λ = 20 as published")


class TdsaSpec(ChannelLossSpec):
    """Top-down spatial attention loss (Eq. 1-9): mutual-channel losses on two levels, the upper attending the lower.

    `top_down: false` is Table IV's "w/o attention".
    """

    title: ClassVar[str] = "TDSA-Loss: top-down spatial attention on class-aligned channels"
    paper: ClassVar[str] = (
        "Fine-Grained Visual Classification via Simultaneously Learning of Multi-regional Multi-grained Features"
    )

    name: Literal["tdsa"] = "tdsa"
    xi: int = Field(3, ge=1, le=64, description="ξ, middle-level channels for each high-level one (Table V, VI)")
    top_down: bool = Field(True, description="false: the middle level is not attended, Table IV's 'w/o attention'")
    upsample: Literal["nearest", "bilinear", "bicubic"] = Field(
        "nearest", description="how the high level is resized to the middle level (Table VII, VIII)"
    )
    high_stride: Literal[1, 2] = Field(2, description="stride of a residual network's last stage; VGG's stays")
    lambda_div: float = Field(10.0, ge=0, description="λ, weight of the diversity (Eq. 1)")
