"""SCAPNet (scale-consistent attention part network)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from fgvc_cli.spec.methods.base import MethodSpec


def _off(value: Any) -> Any:
    return () if value == "off" else value


Count = Annotated[int, Field(ge=0, le=64)]


class ScapNetSpec(MethodSpec):
    """SCAPNet: a gate over grid cells selects the parts that a second network reads (Eq. 1-16).

    `parts: off` is the gate only (Table IV, VI, VII), `gate: off, parts: off` the backbone only. `two_stage: 20,
    heads: 3` is SCAPNet† (Table III, V). `selection: max_score` and `random` train without L_con (Table VIII).
    """

    title: ClassVar[str] = "SCAPNet: scale-consistent attention part network"
    paper: ClassVar[str] = "Learning Scale-Consistent Attention Part Network for Fine-grained Image Recognition"

    name: Literal["scapnet"] = "scapnet"
    gate: Literal["off", "soft", "hard"] = Field("hard", description="mask of the middle map (Eq. 1, Table VII)")
    gumbel: bool = Field(True, description="Gumbel noise on the gate's scores in training (Eq. 5, Table VII)")
    temperature: float = Field(1.0, gt=0, le=100, description="temperature of the gate's softmax (Eq. 6)")
    hidden: int = Field(16, ge=1, le=4096, description="d, width of the gate's hidden layer (Eq. 4)")
    gate_bias: float = Field(
        0.0,
        ge=-20,
        le=20,
        description='start of the gate: added to the score "keep" of every cell; 0 as in the paper, where half of the '
        "cells are masked at first; 3 keeps 95 %, so that a trained network begins with what it knows",
    )
    grid: int = Field(4, ge=1, le=32, description="N, grid cells per side; limited to the map's size (Table VI)")
    parts: Annotated[tuple[Count, ...], BeforeValidator(_off)] = Field(
        (3, 2, 1),
        max_length=8,
        description="number of parts of scale 1, 2, ... for the sub-network; off: no parts (Table IV, IX)",
    )
    selection: Literal["random", "max_score", "consistent"] = Field(
        "consistent", description="how parts are selected; only consistent trains with L_con (Table VIII)"
    )
    margin: float = Field(0.1, ge=0, le=1, description="margin of the hinge in L_con (Eq. 8)")
    part_scale: float = Field(0.5, gt=0, le=2, description="side of a resized part as a fraction of the image side")
    relation: Literal["none", "concatenate", "gcn", "appearance", "geometry", "both"] = Field(
        "both", description="relation among the parts (Table X); none is its 'Ensemble'"
    )
    heads: int = Field(1, ge=1, le=64, description="N_PRM, heads of the part relation (Eq. 16, Table V)")
    key_size: int = Field(64, ge=1, le=4096, description="d_k of each head (Eq. 9)")
    two_stage: int = Field(
        0, ge=0, description="number of first epochs without the sub-network, after which the schedule restarts"
    )
    weight_cls: float = Field(1.0, ge=0, description="α, weight of L_cls (Eq. 15)")
    weight_act: float = Field(1.0, ge=0, description="β, weight of L_act (Eq. 15)")
    weight_con: float = Field(1.0, ge=0, description="γ, weight of L_con (Eq. 15)")
    weight_sub: float = Field(1.0, ge=0, description="λ, weight of L_sub (Eq. 15)")

    @property
    def consistent(self) -> bool:
        """Whether L_con is used: it needs parts and at least two scales."""
        return self.selection == "consistent" and min(len(self.parts), self.grid) > 1

    @property
    def scored(self) -> bool:
        """Whether the cells' scores are needed, by the gate or by the selection of parts."""
        return self.gate != "off" or (bool(self.parts) and self.selection != "random")

    def stage_starts(self, epochs: int) -> tuple[int, ...]:
        """With `two_stage`, the first stage trains the master network only."""
        return (0, self.two_stage) if self.two_stage else (0,)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.parts and not any(self.parts[: self.grid]):
            raise ValueError(f"parts {list(self.parts)}: no part fits a grid of {self.grid}; use off for no parts")
        if self.two_stage and not self.parts:
            raise ValueError("two_stage needs parts: with parts off there is no sub-network for the second stage")
        if self.scored and self.gate == "off" and not (self.consistent and self.weight_con):
            raise ValueError(
                "with gate off only L_con trains the scores: use selection random, or consistent with weight_con "
                "above 0 and parts of two scales"
            )
        return self
