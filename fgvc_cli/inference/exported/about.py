"""What an exported file says of itself: everything beside the network that an answer needs. Needs no PyTorch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fgvc_cli.runs.schema import Count, TaxonomyRecord, Temperature, Validated
from fgvc_cli.spec.data import DataSpec

KEY = "fgvc"  # of the file's metadata
LAYOUT: Literal[1] = 1  # increased when a reader of an older fgvc would answer wrongly
IMAGES, PROBABILITIES = "images", "probabilities"  # the graph's input and its first output
LOGITS, EMBEDDING = "logits", "embedding"
Precision = Literal["fp32", "fp16", "int8"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Evidences(_Part):
    """The evidence that the graph gives, see docs/export.md: name → kind, of boxes name → how many."""

    boxes: dict[str, Count] = {}
    maps: dict[str, str] = {}
    grids: dict[str, str] = {}
    relations: list[str] = []
    embedding: bool = False


class ExportAbout(_Part):
    """The metadata key `fgvc` of an exported file."""

    layout: int
    fgvc: str  # version that wrote it
    run: str  # name of the run
    spec: dict[str, Any]
    classes: Annotated[list[str], Field(min_length=1)]
    epoch: Count
    temperature: Temperature = 1.0
    precision: Precision = "fp32"
    preprocessing: dict[str, Any] = {}  # for other programs; fgvc reads the spec
    validation: Validated | None = None
    taxonomy: TaxonomyRecord | None = None
    evidence: Evidences | None = None  # exported with --evidence


def preprocessing_of(spec: DataSpec) -> dict[str, Any]:
    """How an image file becomes the graph's input, in words and exact numbers."""
    mean, std = spec.normalisation
    return {
        "decode": "RGB, 8 bit, turned as EXIF says, transparency on white",
        "fit": spec.fit,
        "resize": spec.resize_side,
        "interpolation": spec.interpolation,
        "antialias": spec.interpolation != "nearest",
        "crop": spec.side,
        "input": f"{IMAGES}: uint8, (batch, 3, {spec.side}, {spec.side}), RGB",
        "in_the_graph": {"mean": list(mean), "std": list(std), "scale": 255, "temperature and softmax": True},
    }
