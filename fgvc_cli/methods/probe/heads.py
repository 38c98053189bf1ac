"""The heads of a probe: what is fitted to embeddings at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fgvc_cli.methods.base import Enrolling, Fit, Labelled
from fgvc_cli.methods.probe.linear import fit_linear, folds_of
from fgvc_cli.ops.vectors.centroids import shrunken_centroids
from fgvc_cli.ops.vectors.neighbours import nearest
from fgvc_cli.spec.methods.probe import ProbeSpec

Tell = Callable[[str], object]
_FOLDS = 10  # of a head that is fitted in no time


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
    def fit(self, train: Labelled, val: Labelled | None, tell: Tell) -> Fit:
        """As `BehindEmbedding.fit`, on scaled embeddings."""

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


class EnrollingHead(ProbeHead, Enrolling):
    """A head that learns and forgets classes without training: as `Enrolling`, on scaled embeddings."""


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

    def fit(self, train: Labelled, val: Labelled | None, tell: Tell) -> Fit:
        """As `BehindEmbedding.fit`."""
        return fit_linear(self.classifier, train, val, self.spec, tell)


class KnnHead(EnrollingHead):
    """The k nearest training images by cosine; each votes for its class with exp(cosine / temperature).

    A class's logit is the logarithm of its share of the votes, to which one more neighbour adds that votes for all
    classes alike (Laplace's rule): k images that agree leave no class impossible.
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
        counted = min(self.spec.neighbours, len(self.gallery))
        shares = embeddings.new_full((embeddings.shape[0], self.classes), 1 / self.classes, dtype=torch.float32)
        if counted:
            queries = F.normalize(embeddings.float(), dim=1)
            cosine, place = nearest(queries, self.gallery, counted)
            votes = (cosine / self.spec.temperature).softmax(1) * counted
            shares = shares.scatter_add_(1, self.gallery_labels[place], votes)
        return (shares / (counted + 1)).log()

    def fit(self, train: Labelled, val: Labelled | None, tell: Tell) -> Fit:
        """As `BehindEmbedding.fit`: keeps the training images."""
        self._learn(train)
        chosen = {"neighbours": float(min(self.spec.neighbours, len(self.gallery)))}
        return Fit(chosen, _by_folds(self, train) if val is None else None)

    def _learn(self, train: Labelled) -> None:
        self.gallery = F.normalize(train.embeddings, dim=1)
        self.gallery_labels = train.labels.clone()

    def enroll(self, embeddings: Tensor, label: int) -> None:
        """As `Enrolling.enroll`: the images join the neighbours."""
        self.gallery = torch.cat([self.gallery, F.normalize(embeddings.float(), dim=1).to(self.gallery)])
        labels = torch.full((len(embeddings),), label).to(self.gallery_labels)
        self.gallery_labels = torch.cat([self.gallery_labels, labels])
        self.classes = max(self.classes, label + 1)

    def remove(self, label: int) -> None:
        """As `Enrolling.remove`."""
        kept = self.gallery_labels != label
        self.gallery, labels = self.gallery[kept], self.gallery_labels[kept]
        self.gallery_labels = labels - (labels > label).long()
        self.classes -= 1


class PrototypeHead(EnrollingHead):
    """The nearest class mean by Euclidean distance d; a class's logit is -d² / 2v.

    That is linear in the embedding but for a term that all classes share. v is chosen so that the training images are
    most likely, each asked about without its own share in its class's mean.
    """

    grows = ("centroids", "counts")
    centroids: Tensor  # (K, D)
    counts: Tensor  # (K,) images of each class
    spread: Tensor  # () v

    def __init__(self, spec: ProbeSpec, width: int, classes: int) -> None:
        super().__init__(spec, width, classes)
        self.register_buffer("centroids", torch.zeros(classes, width))
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("spread", torch.ones(()))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, D) → (B, K)."""
        weight, bias = self.linear()
        return F.linear(embeddings.float(), weight, bias)

    def linear(self) -> tuple[Tensor, Tensor]:
        """As `ProbeHead.linear`. A class without an image is never nearest."""
        bias = -0.5 * self.centroids.square().sum(1) / self.spread
        return self.centroids / self.spread, bias.masked_fill(self.counts == 0, float("-inf"))

    def fit(self, train: Labelled, val: Labelled | None, tell: Tell) -> Fit:
        """As `BehindEmbedding.fit`: the mean of each class's training images."""
        self._learn(train)
        chosen = {"smallest class": float(self.counts[self.counts > 0].min())}
        return Fit(chosen, _by_folds(self, train) if val is None else None)

    def _learn(self, train: Labelled) -> None:
        self.centroids, self.counts = shrunken_centroids(train.embeddings, train.labels, self.classes, self.spec.shrink)
        self.spread = self._likeliest_spread(train)

    def _likeliest_spread(self, train: Labelled) -> Tensor:
        """v, among factors of the mean squared distance. With one image in every class nothing can be asked."""
        squared = torch.cdist(train.embeddings, self.centroids).square()
        whole = squared.gather(1, train.labels[:, None]).mean().clamp_min(torch.finfo(squared.dtype).tiny)
        count = self.counts[train.labels]
        asked = count > 1
        if not bool(asked.any()):
            return squared.mean().clamp_min(torch.finfo(squared.dtype).tiny)
        own = train.labels[asked, None]
        # Without itself an image is n / (n - 1) times as far from its class's mean.
        farther = (count[asked] / (count[asked] - 1)).square()[:, None]
        left_out = squared[asked].scatter(1, own, squared[asked].gather(1, own) * farther)
        left_out = left_out.masked_fill(self.counts == 0, float("inf"))
        factors = torch.logspace(-4, 1, 51, device=squared.device) * whole
        losses = [F.cross_entropy(-0.5 * left_out / factor, own[:, 0]) for factor in factors]
        return factors[torch.stack(losses).argmin()]

    def enroll(self, embeddings: Tensor, label: int) -> None:
        """As `Enrolling.enroll`: the class's mean is that of all its images. Earlier ones count with their number."""
        if label == len(self.counts):
            self.centroids = torch.cat([self.centroids, self.centroids.new_zeros(1, self.width)])
            self.counts = torch.cat([self.counts, self.counts.new_zeros(1)])
            self.classes = len(self.counts)
        before, new = self.counts[label], len(embeddings)
        total = self.centroids[label] * before + embeddings.to(self.centroids).sum(0)
        self.centroids[label], self.counts[label] = total / (before + new), before + new

    def remove(self, label: int) -> None:
        """As `Enrolling.remove`."""
        kept = torch.arange(len(self.counts)).to(self.counts) != label
        self.centroids, self.counts = self.centroids[kept], self.counts[kept]
        self.classes = len(self.counts)


def _by_folds(head: KnnHead | PrototypeHead, train: Labelled) -> Tensor:
    """(N, K) logits of each image, by a head of the same settings that learnt the other folds."""
    plain = train.as_evaluated
    fold = folds_of(plain.labels, min(_FOLDS, len(plain.labels)))
    logits = plain.embeddings.new_empty(len(plain.labels), head.classes)
    for number in range(min(_FOLDS, len(plain.labels))):
        other = type(head)(head.spec, head.width, head.classes).to(plain.embeddings.device)
        other._learn(train.of_images(fold != number))
        logits[fold == number] = other(plain.embeddings[fold == number])
    return logits


HEADS: dict[str, type[ProbeHead]] = {"linear": LinearHead, "knn": KnnHead, "prototype": PrototypeHead}
