"""The one interface between methods and everything that trains, evaluates, explains or ships them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fgvc_cli.backbones import Backbone
from fgvc_cli.spec.methods.base import MethodSpec


@dataclass(frozen=True)
class Maps:
    """n maps an image. `kind` is what they are (cam, gate, attention, channels)."""

    kind: str
    values: Tensor  # (B, n, h, w)
    frame: Tensor  # (B, 4) the box they cover, xyxy in network-input pixels
    classes: Tensor | None = None  # (n,) or (B, n) class of each map


@dataclass(frozen=True)
class Boxes:
    """R boxes an image, xyxy half-open in network-input pixels.

    `kind` is what they are: a `region` that is looked at closer, `part`s that are read, the `roi`s of one level of a
    pyramid (the lowest level's set comes first), or what is `merged` from all of those.
    """

    xyxy: Tensor  # (B, R, 4)
    scores: Tensor  # (B, R)
    valid: Tensor  # (B, R) bool
    kind: str = "region"


@dataclass(frozen=True)
class Head:
    """A classifier's input: a map, and the linear weight for a true CAM (None: only Grad-CAM is possible)."""

    map: Tensor  # (B, C, h, w)
    weight: Tensor | None  # (K, C)
    frame: Tensor  # (B, 4) the box the map covers, xyxy in network-input pixels


@dataclass(frozen=True)
class Grid:
    """A score for each cell of an r×c grid over `frame`."""

    kind: str
    values: Tensor  # (B, r, c)
    frame: Tensor  # (B, 4)


@dataclass(frozen=True)
class Evidence:
    """What the forward pass looked at. It refers to what was computed anyway; what costs more viz computes."""

    maps: dict[str, Maps] = field(default_factory=dict)
    boxes: dict[str, Boxes] = field(default_factory=dict)
    grids: dict[str, Grid] = field(default_factory=dict)
    relations: dict[str, Tensor] = field(default_factory=dict)  # (B, R, R) each
    heads: dict[str, Head] = field(default_factory=dict)
    embedding: Tensor | None = None  # (B, D)


@dataclass(frozen=True)
class Output:
    """B images, K classes."""

    logits: Tensor  # (B, K) final: its softmax is the prediction
    branches: dict[str, Tensor]  # (B, K) each
    features: dict[str, Tensor]  # what the loss needs; never read outside the method
    evidence: Evidence | None = None  # only when asked for


for _node in (Maps, Boxes, Head, Grid, Evidence, Output):
    torch.export.register_dataclass(_node, serialized_type_name=f"fgvc.{_node.__name__}")


class Method(nn.Module, ABC):
    """A classifier with its losses. The first network of every method is `self.backbone`.

    Args:
        spec: the method's own settings.
        backbone: with its starting weights: a method that copies it copies them.
        num_classes: K.
        image_size: S, the side of the images it is built for; others work too.
    """

    def __init__(self, spec: MethodSpec, backbone: Backbone, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = backbone
        self.num_classes = num_classes
        self.image_size = image_size
        self.notes: list[str] = []  # what a user who gave starting weights should know of them

    @abstractmethod
    def forward(self, images: Tensor, *, evidence: bool = False) -> Output:
        """(B, 3, S, S) normalised images → Output. Never sees labels."""

    @abstractmethod
    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """Named, weighted fp32 scalars whose sum is the loss.

        `labels` are (B,) int64 classes or (B, K) probabilities. Each loss is a mean over images of a per-image value.
        """

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Optimizer groups. The default is one group of everything at `lr`."""
        return [{"params": list(self.parameters()), "lr": lr}]

    def on_epoch(self, epoch: int, epochs: int) -> bool:
        """Enter `epoch` (0-based) of `epochs`; true when the trainable set or the graph changed.

        A pure function of its arguments: it also runs on resume, on load and on averaged copies.
        """
        return False
