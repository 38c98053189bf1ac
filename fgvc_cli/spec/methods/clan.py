"""CLAN (cross-layer attention network)."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from fgvc_cli.spec.methods.base import MethodSpec


class ClanSpec(MethodSpec):
    """CLAN: middle maps learn context from the top map, which learns where to look from them (Eq. 1-14).

    Table 1 is `relation` with `clsa: false`, Table 2 `context` with `clsa: false`, Table 3 `spatial_pool`, Table 5
    `scales`.
    """

    title: ClassVar[str] = "CLAN: cross-layer attention network"
    paper: ClassVar[str] = "Cross-layer Attention Network for Fine-grained Visual Categorization"

    name: Literal["clan"] = "clan"
    scales: Literal[2, 3] = Field(2, description="N: the top map and N-1 middle maps")
    context: Literal["none", "nonlocal", "clca"] = Field(
        "clca", description="what refines a middle map: nothing, relations within it, or with the top map (Table 2)"
    )
    relation: Literal["gaussian", "embedded_gaussian", "dot_product"] = Field(
        "dot_product", description="f of Eq. 2: Eq. 5, 6 or 7 (Table 1)"
    )
    reduction: int = Field(2, ge=1, le=64, description="C_int is the middle map's channels over this")
    zero_init: bool = Field(True, description="W_y of Eq. 3 starts at zero, so the refinement starts as nothing")
    clsa: bool = Field(True, description="false: no cross-layer spatial attention and no branch of it")
    spatial_pool: Literal["avg", "max", "both"] = Field(
        "both", description="how channels are pooled for the attention map of Eq. 8 (Table 3)"
    )
    attention: Literal["sigmoid", "none"] = Field(
        "sigmoid", description="what the attention map goes through; none is Eq. 8 to the letter"
    )
    downsample: Literal["average", "bilinear"] = Field("average", description="R of Eq. 9")
    lambda_middle: float = Field(1.0, ge=0, description="weight of each term of Eq. 12")
    lambda_global: float = Field(1.0, ge=0, description="weight of Eq. 13")
    lambda_clsa: float = Field(1.0, ge=0, description="weight of Eq. 14")

    @model_validator(mode="after")
    def _nothing_asked_in_vain(self) -> Self:
        if self.context == "none" and self.relation != "dot_product":
            raise ValueError("relation needs a context: with context none there is no relation")
        if not self.clsa and (self.spatial_pool != "both" or self.attention != "sigmoid"):
            raise ValueError("spatial_pool and attention need clsa: with clsa false there is no attention map")
        return self
