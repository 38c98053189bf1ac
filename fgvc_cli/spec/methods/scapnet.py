"""SCAPNet (scale-consistent attention part network)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from fgvc_cli.spec.methods.base import MethodSpec


def _off(value: Any) -> Any:
    return () if value == "off" else value


Count = Annotated[int, Field(ge=0, le=64)]


class ScapNetSpec(MethodSpec):
    """SCAPNet: a gate over grid cells guides which parts a second network reads (Eq. 1-16).

    `parts: off` is the gate alone (Table IV, VI, VII), `gate: off, parts: off` the plain network. `two_stage: 20,
    heads: 3` is SCAPNet† (Table III, V). `selection: max_score` and `random` train without L_con (Table VIII).
    """

    title: ClassVar[str] = "SCAPNet: scale-consistent attention part network"
    paper: ClassVar[str] = "Learning Scale-Consistent Attention Part Network for Fine-grained Image Recognition"

    name: Literal["scapnet"] = "scapnet"
    gate: Literal["off", "soft", "hard"] = Field("hard", description="what masks the middle map (Eq. 1, Table VII)")
    gumbel: bool = Field(True, description="Gumbel noise on the gate's scores in training (Eq. 5, Table VII)")
    temperature: float = Field(1.0, gt=0, le=100, description="of the gate's softmax (Eq. 6)")
    hidden: int = Field(16, ge=1, le=4096, description="d, width of the gate's hidden layer (Eq. 4)")
    grid: int = Field(4, ge=1, le=32, description="N, cells a side; at most the map's size (Table VI)")
    parts: Annotated[tuple[Count, ...], BeforeValidator(_off)] = Field(
        (3, 2, 1),
        max_length=8,
        description="parts of scale 1, 2, ... that the sub-network reads; off: none (Table IV, IX)",
    )
    selection: Literal["random", "max_score", "consistent"] = Field(
        "consistent", description="how parts are chosen; only consistent trains with L_con (Table VIII)"
    )
    margin: float = Field(0.1, ge=0, le=1, description="of the hinge in L_con (Eq. 8)")
    part_scale: float = Field(0.5, gt=0, le=2, description="side of a resized part as a share of the image's")
    relation: Literal["none", "concatenate", "gcn", "appearance", "geometry", "both"] = Field(
        "both", description="what relates the parts (Table X); none is its 'Ensemble'"
    )
    heads: int = Field(1, ge=1, le=64, description="N_PRM, heads of the part relation (Eq. 16, Table V)")
    key_size: int = Field(64, ge=1, le=4096, description="d_k of each head (Eq. 9)")
    two_stage: int = Field(0, ge=0, description="first epochs without the sub-network; then the schedule restarts")
    weight_cls: float = Field(1.0, ge=0, description="α, weight of L_cls (Eq. 15)")
    weight_act: float = Field(1.0, ge=0, description="β, weight of L_act (Eq. 15)")
    weight_con: float = Field(1.0, ge=0, description="γ, weight of L_con (Eq. 15)")
    weight_sub: float = Field(1.0, ge=0, description="λ, weight of L_sub (Eq. 15)")

    @property
    def consistent(self) -> bool:
        """Whether there is an L_con: it needs parts, and two scales to be consistent."""
        return self.selection == "consistent" and min(len(self.parts), self.grid) > 1

    @property
    def scored(self) -> bool:
        """Whether anything asks for the cells' scores."""
        return self.gate != "off" or (bool(self.parts) and self.selection != "random")

    def stage_starts(self, epochs: int) -> tuple[int, ...]:
        """The master alone first, where `two_stage` says so."""
        return (0, self.two_stage) if self.two_stage else (0,)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.parts and not any(self.parts[: self.grid]):
            raise ValueError(f"parts {list(self.parts)}: none fits a grid of {self.grid}; off means none")
        if self.two_stage and not self.parts:
            raise ValueError("two_stage begins without the sub-network, and with parts off there is none")
        if self.scored and self.gate == "off" and not (self.consistent and self.weight_con):
            raise ValueError("with gate off only L_con trains the scores: choose selection random, or consistent")
        return self
