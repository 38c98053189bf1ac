"""AP-CNN (attention pyramid convolutional neural network)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from fgvc_cli.spec.methods.base import MethodSpec

Rate = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[float, Field(ge=16, le=448)]
Count = Annotated[int, Field(ge=1, le=64)]


class ApCnnSpec(MethodSpec):
    """AP-CNN: a feature pyramid with gates, and a second stage on what the gates point at (Eq. 1-7, Algorithm 1).

    `refine: false` is "one stage" of Table 1. Table 2: `pyramid` with `refine: false`.
    """

    title: ClassVar[str] = "AP-CNN: attention pyramid with ROI guided refinement"
    paper: ClassVar[str] = (
        "Weakly Supervised Attention Pyramid Convolutional Neural Network for Fine-Grained Visual Classification"
    )

    name: Literal["apcnn"] = "apcnn"
    pyramid: Literal["none", "fp", "ap"] = Field(
        "ap", description="plain backbone, feature or attention pyramid (T. 2)"
    )
    spatial_gate: bool = Field(True, description="spatial attention of each level, Eq. 1 (of pyramid ap)")
    channel_gate: bool = Field(True, description="channel attention of each level, Eq. 2 (of pyramid ap)")
    pathway: Literal["none", "spatial", "channel"] = Field("channel", description="bottom-up path of gates (Table 3)")
    bottom_up: Literal["mean", "sum"] = Field("mean", description="how a gate is merged with that of the level below")
    refine: bool = Field(True, description="false: one stage (Table 1)")
    refine_at: Literal["input", "conv1", "conv2", "conv3"] = Field("conv3", description="map that is refined (Table 5)")
    erase: bool = Field(True, description="ROI guided dropblock while training, Eq. 5, 6 (Table 4)")
    zoom: bool = Field(True, description="ROI guided zoom-in, Eq. 7 (Table 4)")
    guidance: Literal["roi", "random"] = Field("roi", description="how the regions are chosen (Table 4)")
    drop_rates: tuple[Rate, Rate, Rate] | None = Field(
        None, description="P of Algorithm 1 by level; none: 0.3, 0.3, 0 (VGG 0.3, 0.4, 0)"
    )
    drop_rescale: Literal["map", "crop"] = Field("map", description="where Eq. 6 counts: the map, or the zoomed part")
    top_k: tuple[Count, Count, Count] = Field((5, 3, 1), description="largest number of ROIs per level")
    anchor_sizes: tuple[Side, Side, Side] = Field((64, 128, 256), description="anchor sides by level, at 448 pixels")
    anchor_offset: float = Field(0.0, ge=0, lt=1, description="anchor centre in its cell: 0 first pixel, 0.5 middle")
    border: float = Field(0.1, ge=0, lt=0.5, description="share of the map on each side without anchors; 0.2 on CUB")
    nms_iou: float = Field(0.05, ge=0, le=1, description="IoU above which a weaker ROI is suppressed")
    neck: Literal["auto", "fpn", "top_down"] = Field(
        "auto", description="auto: top_down for VGG (no laterals), else fpn"
    )
    width: int = Field(256, ge=8, le=2048, description="channels of the pyramid")
    reduction: int = Field(16, ge=1, le=256, description="the channel gate's hidden layer is width / reduction")
    hidden: int | None = Field(
        None, ge=1, le=8192, description="hidden units of a classifier; none: 512 for 200 classes or VGG, else 256"
    )
    start: Literal["pytorch", "released"] = Field(
        "pytorch",
        description="initialisation of neck and gates: PyTorch's, or the authors' He-normal (fan out)",
    )
    fused_head: bool = Field(True, description="an additional classifier on all ungated levels together")
    average: Literal["logits", "probabilities"] | None = Field(
        None, description="what is averaged over the heads to predict; none: logits (VGG: probabilities)"
    )
    trunk_rate: float = Field(
        1.0, gt=0, le=1, description="learning rate of layers before conv5, as a share; 0.1 on CUB"
    )

    @model_validator(mode="after")
    def _possible(self) -> ApCnnSpec:
        gates = self.pyramid == "ap"
        if gates and self.pathway != "none" and not getattr(self, f"{self.pathway}_gate"):
            raise ValueError(f"pathway {self.pathway} joins {self.pathway} gates, which are off: set pathway=none")
        if self.refine and self.pyramid == "none":
            raise ValueError("pyramid none has no second stage: set refine=false")
        if self.refine and self.guidance == "roi" and not (gates and self.spatial_gate):
            raise ValueError("without spatial gates no region can be chosen: set refine=false or guidance=random")
        if self.refine and not (self.erase or self.zoom):
            raise ValueError("a second stage without erase and zoom sees what the first saw: set refine=false")
        if self.drop_rates is not None and sum(self.drop_rates) > 1:
            raise ValueError(
                f"drop_rates are probabilities of one choice: they sum to {sum(self.drop_rates):g}, over 1"
            )
        return self
