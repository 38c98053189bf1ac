"""Scores of whether an image is of a class that a model knows: higher means more likely known."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fgvc_cli.data.splits import spread_order
from fgvc_cli.evaluation.certainty.openset import auroc, threshold_at
from fgvc_cli.evaluation.metrics import Floats
from fgvc_cli.ops.vectors.mahalanobis import Metric, shrunk_covariance
from fgvc_cli.ops.vectors.neighbours import nearest
from fgvc_cli.ops.vectors.principal import principal_axes

NEIGHBOUR = 5  # the distance is that of the fifth nearest training image
_MOST, _VALUES = 20_000, 1 << 25  # training images that are kept, and their numbers: 134 MB
_SPAN = 2048  # a wider embedding is compared in the span of so many images
_FOLDS = 5  # of classes that play unknown ones in turn
_ERRORS = 2  # standard errors by which a score must be better than `combined`
_PLAIN = ("probability", "max_logit", "energy")
_COMBINED = ("max_logit", "mahalanobis")  # one of the answer, one of the image
SCORES = (*_PLAIN, "neighbours", "mahalanobis", "combined")

Scales = Mapping[str, tuple[float, float]]  # mean and standard deviation of each of _COMBINED


@dataclass(frozen=True)
class Seen:
    """A model's answers for N images."""

    logits: Tensor  # (N, K) float32
    embeddings: Tensor  # (N, D) float32

    @classmethod
    def joined(cls, parts: Iterable[tuple[Tensor, Tensor]]) -> Seen:
        """From batches of logits and embeddings."""
        return cls(*(torch.cat(column).float() for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Distances:
    """Distances from a model's training images."""

    gallery: Tensor  # (M, D) of length 1: at most _MOST of the images, spread over the classes
    centre: Tensor  # (1, D) mean of all
    axes: Tensor  # (D, R) a basis of what images differ in; what lies outside it is as far from any mean
    centres: Tensor  # (C, R) class means, less that of all, in that basis
    within: Tensor  # (R, R) whitener of the covariance within classes
    around: Tensor  # (R, R) whitener of the covariance of all, within classes and between them

    @classmethod
    def of(cls, embeddings: Tensor, labels: Tensor, axes: Tensor | None = None) -> Distances:
        """From (N, D) embeddings and (N,) labels of the training images. `axes`: those of more images, if known."""
        width = embeddings.shape[1]
        spread = torch.from_numpy(spread_order(labels.cpu().numpy())).to(embeddings.device)
        gallery = F.normalize(embeddings[spread[: min(_MOST, _VALUES // width)].sort()[0]], dim=1)
        if axes is None:
            axes = principal_axes(embeddings if width <= _SPAN else embeddings[spread[:_SPAN]]).to(embeddings)
        centre = embeddings.mean(0, keepdim=True)
        found = (embeddings - centre) @ axes
        present, row = torch.unique(labels, return_inverse=True)
        sums = found.new_zeros(len(present), found.shape[1]).index_add_(0, row, found)
        centres = sums / torch.bincount(row)[:, None]
        within = shrunk_covariance(found - centres[row], width)
        apart = centres.double()
        between = apart.mT @ (apart * (torch.bincount(row) / len(row))[:, None])
        # Not a covariance shrunk on its own: where the two are shrunk by different shares, far images seem near.
        around = Metric.of(within + between).whitener
        return cls(gallery, centre, axes, centres, Metric.of(within).whitener, around)

    def scores(self, embeddings: Tensor) -> dict[str, Tensor]:
        """(N,) each. `neighbours`: cosine of the NEIGHBOUR-th nearest training image (Sun et al., Out-of-Distribution
        Detection with Deep Nearest Neighbors, https://arxiv.org/abs/2204.06507). `mahalanobis`: minus the relative
        Mahalanobis distance, that of the nearest class mean less that of the mean of all (Ren et al., A Simple Fix to
        Mahalanobis Distance for Improving Near-OOD Detection, https://arxiv.org/abs/2106.09022).
        """
        cosine, _ = nearest(F.normalize(embeddings, dim=1), self.gallery, min(NEIGHBOUR, len(self.gallery)))
        found = (embeddings - self.centre) @ self.axes
        own = Metric(self.within).squared(found, self.centres).amin(1)
        background = Metric(self.around).squared(found, torch.zeros_like(self.centres[:1]))[:, 0]
        return {"neighbours": cosine[:, -1], "mahalanobis": background - own}


def of_logits(logits: Tensor, temperature: float) -> dict[str, Tensor]:
    """(N,) each, from (N, K) logits. `probability`: the highest calibrated one (Hendrycks and Gimpel,
    https://arxiv.org/abs/1610.02136); `max_logit` (Vaze et al., https://arxiv.org/abs/2110.06207); `energy`: minus it,
    the log of the sum of exponentials (Liu et al., https://arxiv.org/abs/2010.03759).
    """
    return {
        "probability": (logits / temperature).softmax(1).amax(1),
        "max_logit": logits.amax(1),
        "energy": logits.logsumexp(1),
    }


@dataclass(frozen=True)
class Detector:
    """The scores of a model, and what its validation split says of them."""

    distances: Distances
    temperature: float
    thresholds: Mapping[str, float]  # at or above it 95 % of the validation images are
    scales: Scales  # on the validation split
    validation: Mapping[str, float]  # mean AUROC of two kinds of unknown images made of the validation split
    default: str  # `chosen` by it

    @classmethod
    def fitted(
        cls, train: Seen, labels: Tensor, val: Seen, val_labels: Tensor, tiles: Seen, temperature: float
    ) -> Detector:
        """Fit to the training images; choose thresholds and the default by the validation split.

        The default is chosen by the mean of two AUROCs, for unknown images are near or far: that of classes which play
        unknown ones in turn (`_among_classes`), and that of validation images whose tiles were shuffled.

        Args:
            train: of the training images.
            labels: theirs, (N,).
            val: of the validation images.
            val_labels: theirs.
            tiles: of validation images with shuffled tiles (`fgvc_cli.evaluation.certainty.tiles`).
            temperature: divides the logits for the calibrated probability.
        """
        distances = Distances.of(train.embeddings, labels)
        single = _single(distances, val, temperature)
        scales = _scales(single)
        known = _with_combined(single, scales)
        far = _with_combined(_single(distances, tiles, temperature), scales)
        near = _among_classes(train, labels, val, val_labels, temperature, distances.axes)
        judged = {name: (near[name] + auroc(known[name], far[name])) / 2 for name in SCORES}
        thresholds = {name: threshold_at(values) for name, values in known.items()}
        default = chosen(judged, min(len(val.logits), len(tiles.logits)))
        return cls(distances, temperature, thresholds, scales, judged, default)

    def scores(self, seen: Seen) -> dict[str, Floats]:
        """(N,) of every score, float64. `combined`: the sum of `max_logit` and `mahalanobis`, each less its mean and
        divided by its standard deviation on the validation split.
        """
        return _with_combined(_single(self.distances, seen, self.temperature), self.scales)

    def state(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors and metadata, of which `restored` makes it again."""
        about = {"temperature": self.temperature, "thresholds": dict(self.thresholds)}
        about |= {"scales": dict(self.scales), "validation": dict(self.validation), "default": self.default}
        return {name: value.cpu().contiguous() for name, value in vars(self.distances).items()}, {
            "detector": json.dumps(about)
        }

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], device: torch.device) -> Detector:
        """What `state` gave. KeyError, TypeError or ValueError if it did not."""
        about = json.loads(metadata["detector"])
        wanted = (set(SCORES), set(_COMBINED))
        if (set(about["thresholds"]), set(about["scales"])) != wanted or about["default"] not in SCORES:
            raise ValueError("it has other scores")
        return cls(Distances(**{name: value.to(device) for name, value in tensors.items()}), **about)


def chosen(judged: Mapping[str, float], images: int) -> str:
    """The default score: `combined`, which looks at both answer and image, unless another is surely better.

    That is, if its AUROC is higher by more than two standard errors of that of `combined`, sqrt(A (1 - A) / n), the
    largest that so many images allow (Birnbaum and Klose, Bounds for the variance of the Mann-Whitney statistic, 1957).
    With one, the best of five others passes it by chance too often (docs/certainty.md, small folders).

    Args:
        judged: AUROC of each score.
        images: n, known or unknown ones, whichever are fewer.
    """
    best = max(SCORES, key=lambda name: judged[name])
    usual = judged["combined"]
    error = math.sqrt(usual * (1 - usual) / max(images, 1))
    return best if judged[best] - usual > _ERRORS * error else "combined"


def _single(distances: Distances, seen: Seen, temperature: float) -> dict[str, Floats]:
    """(N,) of every score but `combined`, float64."""
    found = of_logits(seen.logits, temperature) | distances.scores(seen.embeddings)
    return {name: values.double().cpu().numpy() for name, values in found.items()}


def _scales(found: Mapping[str, Floats]) -> Scales:
    """Of scores of known images."""
    return {name: (float(found[name].mean()), float(found[name].std()) or 1.0) for name in _COMBINED}


def _with_combined(found: Mapping[str, Floats], scales: Scales) -> dict[str, Floats]:
    parts = [(found[name] - mean) / deviation for name, (mean, deviation) in scales.items()]
    return {**found, "combined": np.sum(parts, axis=0)}


def _among_classes(
    train: Seen, labels: Tensor, val: Seen, val_labels: Tensor, temperature: float, axes: Tensor
) -> dict[str, float]:
    """AUROC of every score, the mean over folds of the classes, whose validation images play unknown ones.

    The fold's classes are taken from the logits and from the training images; the network has learnt them, so distances
    look better than for classes that are really new. With fewer than three classes all are 0.5.
    """
    classes = val.logits.shape[1]
    fold_of = torch.from_numpy(np.random.RandomState(0).permutation(classes) % min(_FOLDS, classes)).to(labels.device)
    found: dict[str, list[float]] = {name: [] for name in SCORES}
    for fold in range(min(_FOLDS, classes)):
        columns = torch.nonzero(fold_of != fold)[:, 0]
        unknown = fold_of[val_labels] == fold
        if len(columns) < 2 or bool(unknown.all()) or not bool(unknown.any()):
            continue
        rows = torch.nonzero(fold_of[labels] != fold)[:, 0]
        distances = Distances.of(train.embeddings[rows], labels[rows], axes)
        single = _single(distances, Seen(val.logits[:, columns], val.embeddings), temperature)
        mask = unknown.cpu().numpy()
        scales = _scales({name: values[~mask] for name, values in single.items()})
        for name, values in _with_combined(single, scales).items():
            found[name].append(auroc(values[~mask], values[mask]))
    return {name: float(np.mean(values)) if values else 0.5 for name, values in found.items()}
