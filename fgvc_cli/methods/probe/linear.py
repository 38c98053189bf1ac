"""Logistic regression as a classifier's fit: its strength chosen on the validation split, or by folds without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from fgvc_cli.methods.base import Labelled
from fgvc_cli.ops.vectors.logistic import Fitted, fit_logistic
from fgvc_cli.spec.methods.probe import ProbeSpec

_ROUGH = 2e-4  # the gradient at which a candidate's accuracy is settled
_STEPS = 100


Tell = Callable[[str], object]
Criterion = Literal["top1", "likelihood"]  # by which a strength is chosen; the likelihood also of overconfident answers


def fit_linear(
    classifier: nn.Linear, train: Labelled, val: Labelled | None, spec: ProbeSpec, tell: Tell, by: Criterion = "top1"
) -> dict[str, float]:
    """Set a linear classifier to the logistic regression of the training images, at the strength that predicts best."""
    strength = choose_strength(train, val, classifier.out_features, spec, tell, by)
    each = torch.tensor([strength])
    fitted = fit_logistic(train.embeddings, train.labels, classifier.out_features, each, train.weights)
    if not bool(fitted.converged.all()):
        tell(f"note: the regression stopped after {fitted.iterations} iterations, before it was exact")
    with torch.no_grad():
        classifier.weight.copy_(fitted.weight[0])
        classifier.bias.copy_(fitted.bias[0])
    return {"strength": strength, "iterations": fitted.iterations}


def choose_strength(
    train: Labelled, val: Labelled | None, classes: int, spec: ProbeSpec, tell: Tell, by: Criterion = "top1"
) -> float:
    """The strength with the highest accuracy, or likelihood, on images that were not fitted; of equal ones the lowest.

    All strengths, and all folds, are one batched problem.
    """
    strengths = sorted(spec.strengths)
    if len(strengths) == 1:
        return strengths[0]
    if val is not None:
        found = _rough(train, classes, torch.tensor(strengths), train.weights.expand(len(strengths), -1))
        scores = _scores(found.logits(val.embeddings), val.labels).mean(2)
        where = "on the validation split"
    else:
        folds = min(spec.folds, len(train.as_evaluated.labels))
        scores = _by_folds(train, classes, strengths, folds)
        where = f"by {folds} folds of the training images"
    best = int(scores[0 if by == "top1" else 1].argmax())
    tell(f"strength {strengths[best]:g}, chosen {where}: {100 * float(scores[0, best]):.1f} % top-1 there")
    return strengths[best]


def _scores(logits: Tensor, labels: Tensor) -> Tensor:
    """(P, N, K) → (2, P, N): whether each answer is right, and the logarithm of the true class's probability."""
    likelihood = logits.log_softmax(2).gather(2, labels.expand(len(logits), -1)[..., None])[..., 0]
    return torch.stack([(logits.argmax(2) == labels).float(), likelihood])


def _rough(train: Labelled, classes: int, strengths: Tensor, weights: Tensor) -> Fitted:
    embeddings, labels = train.embeddings, train.labels
    return fit_logistic(embeddings, labels, classes, strengths, weights, iterations=_STEPS, tolerance=_ROUGH)


def _by_folds(train: Labelled, classes: int, strengths: list[float], folds: int) -> Tensor:
    """(2, S) mean scores of each strength on the images of each fold, fitted to the other folds.

    All views of an image are in its fold; it is asked about as in evaluation.
    """
    plain = train.as_evaluated
    fold = folds_of(plain.labels, folds)
    out = torch.stack([fold == number for number in range(folds)]).repeat(len(strengths), 1)  # (S · F, N)
    weights = (~out).repeat(1, train.views) * train.weights
    found = _rough(train, classes, torch.tensor(strengths).repeat_interleave(folds), weights)
    scores = _scores(found.logits(plain.embeddings), plain.labels) * out
    return scores.reshape(2, len(strengths), -1).sum(2) / len(plain.labels)


def folds_of(labels: Tensor, folds: int) -> Tensor:
    """(N,) the fold of each image: dealt out in turns, class after class.

    The same for the same labels; every fold has an image where there are as many images.
    """
    order = torch.argsort(labels.cpu(), stable=True)
    fold = torch.empty_like(order)
    fold[order] = torch.arange(len(order)) % folds
    return fold.to(labels.device)


def out_of_fold(images: Labelled, classes: int, strength: float, folds: int) -> Tensor:
    """(N, K) logits of each image, of a classifier that was fitted to the other folds. All are one batched problem."""
    fold = folds_of(images.labels, folds)
    out = torch.stack([fold == number for number in range(folds)])
    found = _rough(images, classes, torch.full((folds,), strength), (~out).float())
    return (found.logits(images.embeddings) * out[:, :, None]).sum(0)
