"""The interface of all methods, used by training, evaluation, visualisation and export."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from fgvc_cli.backbones import Backbone
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.methods.base import MethodSpec


@dataclass(frozen=True)
class Maps:
    """n maps per image. `kind` says what they are (cam, gate, attention, channels)."""

    kind: str
    values: Tensor  # (B, n, h, w)
    frame: Tensor  # (B, 4) the box they cover, xyxy in network-input pixels
    classes: Tensor | None = None  # (n,) or (B, n) class of each map


@dataclass(frozen=True)
class Boxes:
    """R boxes per image, xyxy half-open in network-input pixels.

    `kind` says what they are: a `region` that is cropped and enlarged, `part`s that are read, the `roi`s of one level
    of a pyramid (the lowest level comes first), or a `merged` box that encloses those.
    """

    xyxy: Tensor  # (B, R, 4)
    scores: Tensor  # (B, R)
    valid: Tensor  # (B, R) bool
    kind: str = "region"


@dataclass(frozen=True)
class Head:
    """A classifier's input map, and its linear weight for a CAM (None: only Grad-CAM is possible)."""

    map: Tensor  # (B, C, h, w)
    weight: Tensor | None  # (K, C)
    frame: Tensor  # (B, 4) the box the map covers, xyxy in network-input pixels


@dataclass(frozen=True)
class Grid:
    """One score for each cell of an r×c grid over `frame`."""

    kind: str
    values: Tensor  # (B, r, c)
    frame: Tensor  # (B, 4)


@dataclass(frozen=True)
class Evidence:
    """What a prediction is based on. It holds only what the forward pass computes anyway; viz computes the rest."""

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
    features: dict[str, Tensor]  # inputs of the loss; never read outside the method
    evidence: Evidence | None = None  # only with `forward(..., evidence=True)`


def precise(values: Tensor) -> Tensor:
    """The values in at least fp32, also under autocast."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


for _node in (Maps, Boxes, Head, Grid, Evidence, Output):
    torch.export.register_dataclass(_node, serialized_type_name=f"fgvc.{_node.__name__}")


class Labelled(NamedTuple):
    """The embeddings of N images, and their classes."""

    embeddings: Tensor  # (N, D) float32; with V views of each image (V · N, D), first those of evaluation
    labels: Tensor  # (N,) int64, or (V · N,)
    views: int = 1  # V

    @property
    def weights(self) -> Tensor:
        """(1, V · N): all views of an image count as one image."""
        return self.embeddings.new_full((1, len(self.labels)), 1 / self.views)

    @property
    def as_evaluated(self) -> Labelled:
        """The images as in evaluation alone."""
        count = len(self.labels) // self.views
        return Labelled(self.embeddings[:count], self.labels[:count])

    def of_images(self, kept: Tensor) -> Labelled:
        """Some of the images, `kept` (N,) bool, with all their views."""
        rows = kept.repeat(self.views)
        return Labelled(self.embeddings[rows], self.labels[rows], self.views)


class Fit(NamedTuple):
    """What `BehindEmbedding.fit` has done."""

    chosen: dict[str, float]  # settings, by name
    unseen: Tensor | None = None  # (N, K) logits of each training image by a fit without it; None: not computed


class Enrolling(ABC):
    """What learns and forgets classes without training."""

    @abstractmethod
    def enroll(self, embeddings: Tensor, label: int) -> None:
        """Learn more images of a class.

        Args:
            embeddings: (N, D) of `Method.embed`.
            label: 0 to K - 1: a known class gets more images; K: a new class, so that there are K + 1.
        """

    @abstractmethod
    def remove(self, label: int) -> None:
        """Forget a class; those after it move up."""


class Method(nn.Module, ABC):
    """A classifier with its losses. The first network of every method is `self.backbone`.

    Args:
        spec: the method's own settings.
        backbone: with its starting weights already loaded, since a method may copy it.
        num_classes: K.
        image_size: S, the image side that the method is built for; other sizes work too.
    """

    # `field=value` → operators, by PyTorch's names, that the method does without where the field has this value: what a
    # user is told where an exporter lacks one. Uncommon operators are enough.
    avoids: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __init__(self, spec: MethodSpec, backbone: Backbone, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = backbone
        self.num_classes = num_classes
        self.image_size = image_size
        self.notes: list[str] = []  # what the user should know about the starting weights

    @classmethod
    def reads_embedding(cls, spec: MethodSpec) -> bool:
        """Whether it reads the backbone's tap `EMBEDDING`; if not, what only that needs is left out of the backbone."""
        return False

    @abstractmethod
    def forward(self, images: Tensor, *, evidence: bool = False) -> Output:
        """(B, 3, S, S) normalised images → Output. Labels are never an input."""

    @abstractmethod
    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """Named, weighted fp32 scalars; their sum is the loss.

        `labels` are (B,) int64 classes or (B, K) probabilities. Each loss is the mean of a per-image value.
        """

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised images → (B, D) float32: one vector an image, for comparing images.

        Raises:
            BadRequest: the method's evidence has no embedding.
        """
        evidence = self(images, evidence=True).evidence
        if evidence is None or evidence.embedding is None:
            raise BadRequest(f"method {type(self).__name__} gives no embedding")
        return precise(evidence.embedding)

    def final_layers(self) -> list[dict[str, nn.Linear]]:
        """The layers that end in logits (K), by name, for a start from fitted classifiers (`backbone.probe_first`).

        They are in groups: what those of a group read may depend on the answers of the groups before.
        """
        return []

    @property
    def enrolling(self) -> Enrolling | None:
        """What learns and forgets classes without training; None: the method learns by training alone."""
        return None

    def rates(self) -> dict[str, float]:
        """Parameter name → factor of its learning rate; 1 for those not named. Training adds the run's own factors."""
        return {}

    def on_epoch(self, epoch: int, epochs: int) -> bool:
        """Prepare for `epoch` (0-based) of `epochs`; true when the trainable parameters or the graph changed.

        The result depends on the arguments only: it is also called on resume, on load and on averaged copies.
        """
        return False


class BehindEmbedding(Method):
    """A method of which all that is new is one classifier behind the network's embedding: its spec says `behind`.

    `forward` is `classify(embed(images))`, so that a frozen backbone's embeddings can be computed once
    (`backbone.freeze` all).
    """

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """As `Method.embed`."""

    @abstractmethod
    def classify(self, embeddings: Tensor) -> Output:
        """(B, D) of `embed` → Output without evidence."""

    @abstractmethod
    def fit(self, train: Labelled, val: Labelled | None, tell: Callable[[str], object]) -> Fit:
        """Fit what is behind the embedding.

        Args:
            train: the training images.
            val: the validation split, which chooses among settings; None: folds of the training images do.
            tell: called with lines for the user.

        Returns:
            What was chosen; without a validation split also what is said of training images that were not fitted.
        """


def behind_embedding(method: Method) -> BehindEmbedding:
    """A method whose spec says `behind`, as what it then is. TypeError if it is not."""
    if not isinstance(method, BehindEmbedding):
        raise TypeError(f"{type(method).__name__} is not a BehindEmbedding")
    return method


class Behind(nn.Module):
    """A method as a function of embeddings: for whatever runs methods on batches."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = behind_embedding(method)

    def forward(self, embeddings: Tensor, *, evidence: bool = False) -> Output:
        """(B, D) → Output; there is no evidence without images."""
        return self.method.classify(embeddings)
