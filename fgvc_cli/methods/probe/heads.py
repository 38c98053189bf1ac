"""The heads of a probe: what is fitted to embeddings at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fgvc_cli.methods.base import Labelled
from fgvc_cli.methods.probe.linear import fit_linear
from fgvc_cli.ops.centroids import shrunken_centroids
from fgvc_cli.ops.neighbours import nearest
from fgvc_cli.spec.methods.probe import ProbeSpec

Tell = Callable[[str], object]
_LEAST = 0.01  # of the variance of all images: with one image a class, nothing is known of that inside a class
_NO_VOTE = -30.0  # logit of a class without a neighbour: its probability is e^-30 times that of all votes


class ProbeHead(nn.Module, ABC):
    """(B, D) scaled embeddings → logits (B, K).

    Args:
        spec: the probe's settings.
        width: D.
        classes: K.
    """

    grows: tuple[str, ...] = ()  # buffers whose first axis has as many entries as there were images or classes

    def __init__(self, spec: ProbeSpec, width: int, classes: int) -> None:
        super().__init__()
        self.spec, self.width, self.classes = spec, width, classes

    @abstractmethod
    def fit(self, train: Labelled, val: Labelled | None, tell: Tell) -> dict[str, float]:
        """As `Method.fit`, on scaled embeddings."""

    def linear(self) -> tuple[Tensor, Tensor] | None:
        """Weight (K, D) and bias (K,) that give the same probabilities; None if the head is not linear."""
        return None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """As PyTorch's; buffers that grew with what was fitted take the saved size."""
        for name in self.grows:
            saved, own = state_dict.get(prefix + name), getattr(self, name)
            if isinstance(saved, Tensor) and saved.ndim == own.ndim and saved.shape[1:] == own.shape[1:]:
                setattr(self, name, own.new_zeros(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class LinearHead(ProbeHead):
    """Multinomial logistic regression."""

    def __init__(self, spec: ProbeSpec, width: int, classes: int) -> None:
        super().__init__(spec, width, classes)
        self.classifier = nn.Linear(width, classes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, D) → (B, K)."""
        logits: Tensor = self.classifier(embeddings)
        return logits

    def linear(self) -> tuple[Tensor, Tensor]:
        """As `ProbeHead.linear`."""
        return self.classifier.weight, self.classifier.bias

    def fit(self, train: Labelled, val: Labelled | None, tell: Tell) -> dict[str, float]:
        """As `Method.fit`."""
        return fit_linear(self.classifier, train, val, self.spec, tell)


class KnnHead(ProbeHead):
    """The k nearest training images by cosine; each votes for its class with exp(cosine / temperature).

    A class's logit is the logarithm of its share of the votes.
    """

    grows = ("gallery", "gallery_labels")
    gallery: Tensor  # (N, D), of length 1
    gallery_labels: Tensor  # (N,)

    def __init__(self, spec: ProbeSpec, width: int, classes: int) -> None:
        super().__init__(spec, width, classes)
        self.register_buffer("gallery", torch.zeros(0, width))
        self.register_buffer("gallery_labels", torch.zeros(0, dtype=torch.int64))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, D) → (B, K)."""
        shares = embeddings.new_zeros(len(embeddings), self.classes)
        if len(self.gallery):
            queries = F.normalize(embeddings.float(), dim=1)
            cosine, place = nearest(queries, self.gallery, min(self.spec.neighbours, len(self.gallery)))
            votes = (cosine / self.spec.temperature).softmax(1)
            shares = shares.float().scatter_add_(1, self.gallery_labels[place], votes)
        return shares.log().clamp_min(_NO_VOTE)

    def fit(self, train: Labelled, val: Labelled | None, tell: Tell) -> dict[str, float]:
        """As `Method.fit`: keeps the training images."""
        self.gallery = F.normalize(train.embeddings, dim=1)
        self.gallery_labels = train.labels.clone()
        return {"neighbours": min(self.spec.neighbours, len(self.gallery))}


class PrototypeHead(ProbeHead):
    """The nearest class mean by Euclidean distance d; a class's logit is -d² / 2v, v the mean variance inside a class.

    That is linear in the embedding but for a term that all classes share.
    """

    grows = ("centroids", "counts")
    centroids: Tensor  # (K, D)
    counts: Tensor  # (K,) images of each class
    variance: Tensor  # () v

    def __init__(self, spec: ProbeSpec, width: int, classes: int) -> None:
        super().__init__(spec, width, classes)
        self.register_buffer("centroids", torch.zeros(classes, width))
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("variance", torch.ones(()))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, D) → (B, K)."""
        weight, bias = self.linear()
        return F.linear(embeddings.float(), weight, bias)

    def linear(self) -> tuple[Tensor, Tensor]:
        """As `ProbeHead.linear`. A class without an image is never nearest."""
        bias = -0.5 * self.centroids.square().sum(1) / self.variance
        return self.centroids / self.variance, bias.masked_fill(self.counts == 0, float("-inf"))

    def fit(self, train: Labelled, val: Labelled | None, tell: Tell) -> dict[str, float]:
        """As `Method.fit`: the mean of each class's training images."""
        self.centroids, self.counts = shrunken_centroids(train.embeddings, train.labels, self.classes, self.spec.shrink)
        inside = (train.embeddings - self.centroids[train.labels]).square().mean()
        everywhere = train.embeddings.var(0, correction=0).mean()
        self.variance = torch.maximum(inside, _LEAST * everywhere).clamp_min(torch.finfo(inside.dtype).eps)
        return {"smallest class": float(self.counts[self.counts > 0].min())}


HEADS: dict[str, type[ProbeHead]] = {"linear": LinearHead, "knn": KnnHead, "prototype": PrototypeHead}
