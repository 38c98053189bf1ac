"""CLAN (cross-layer attention network)."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from fgvc_cli.spec.methods.base import MethodSpec


class ClanSpec(MethodSpec):
    """CLAN: the top map gives context to middle maps, and these give spatial attention to the top map (Eq. 1-14).

    Table 1 is `relation` with `clsa: false`, Table 2 `context` with `clsa: false`, Table 3 `spatial_pool`, Table 5
    `scales`.
    """

    title: ClassVar[str] = "CLAN: cross-layer attention network"
    paper: ClassVar[str] = "Cross-layer Attention Network for Fine-grained Visual Categorization"

    name: Literal["clan"] = "clan"
    scales: Literal[2, 3] = Field(2, description="N: the top map and N-1 middle maps")
    context: Literal["none", "nonlocal", "clca"] = Field(
        "clca",
        description="refinement of a middle map: none, a non-local block on it, or CLCA with the top map (Table 2)",
    )
    relation: Literal["gaussian", "embedded_gaussian", "dot_product"] = Field(
        "dot_product", description="f of Eq. 2: Eq. 5, 6 or 7 (Table 1)"
    )
    normalise: bool = Field(
        False,
        description="divide θ and φ by their length at each position, and standardise what Eq. 8 convolves, so that "
        "neither grows with the maps; false: Eq. 2 and 8 as printed",
    )
    reduction: int = Field(2, ge=1, le=64, description="C_int is the middle map's number of channels divided by this")
    zero_init: bool = Field(True, description="initialise W_y of Eq. 3 with zero, so the map is unchanged at first")
    clsa: bool = Field(True, description="cross-layer spatial attention; false: without it and without its branch")
    spatial_pool: Literal["avg", "max", "both"] = Field(
        "both", description="pooling over channels for the attention map of Eq. 8 (Table 3)"
    )
    attention: Literal["sigmoid", "none"] = Field(
        "sigmoid", description="activation of the attention map; none is Eq. 8 as printed"
    )
    downsample: Literal["average", "bilinear"] = Field("average", description="downsampling R of Eq. 9")
    lambda_middle: float = Field(1.0, ge=0, description="weight of each term of Eq. 12")
    lambda_global: float = Field(1.0, ge=0, description="weight of Eq. 13")
    lambda_clsa: float = Field(1.0, ge=0, description="weight of Eq. 14")

    @model_validator(mode="after")
    def _nothing_asked_in_vain(self) -> Self:
        if self.context == "none" and self.relation != "dot_product":
            raise ValueError("relation needs a context: with context none no relation is computed")
        if not self.clsa and (self.spatial_pool != "both" or self.attention != "sigmoid"):
            raise ValueError("spatial_pool and attention need clsa: with clsa false there is no attention map")
        return self
