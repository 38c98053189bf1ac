"""REAPS and REAPS+ (region attending and part sequence learning)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from fgvc_cli.spec.methods.base import MethodSpec


class ReapsSpec(MethodSpec):
    """REAPS: a region attending network crops the region that a part sequence network reads (Eq. 1-6).

    `stages: 2` is REAPS+ (Table 3); `part_branch: false` is Table 2's "PSN wo part".
    """

    title: ClassVar[str] = "REAPS: region attending and part sequence learning"
    paper: ClassVar[str] = (
        "REAPS: Towards Better Recognition of Fine-grained Images by Region Attending and Part Sequencing"
    )

    name: Literal["reaps"] = "reaps"
    stages: Literal[1, 2] = Field(1, description="number of part sequence networks; 2 is REAPS+")
    tau: float = Field(0.1, ge=0, lt=1, description="threshold of the normalised CAM for the box (Eq. 2)")
    box: Literal["mask", "largest_component"] = Field(
        "mask", description="what the box encloses: the whole thresholded CAM, or its largest component"
    )
    min_box: float = Field(0.125, gt=0, le=1, description="minimum side of the box as a fraction of the image side")
    grid: int = Field(7, ge=1, le=64, description="side of the sequence grid; limited to the map's size")
    units: int = Field(512, ge=2, le=8192, description="U, LSTM hidden units of both directions together")
    part_branch: bool = Field(True, description="false: no part sequence, Table 2's 'PSN wo part'")
    lambda_ran: float = Field(1.0, ge=0, description="weight of L_A (Eq. 5)")
    lambda_global: float = Field(1.0, ge=0, description="weight of L_Pg (Eq. 5)")
    lambda_part: float = Field(1.0, ge=0, description="weight of L_Pp (Eq. 5)")

    @field_validator("units")
    @classmethod
    def _even(cls, units: int) -> int:
        if units % 2:
            raise ValueError("must be even: each direction has half of the units")
        return units
