"""Logistic regression as a classifier's fit: its strength chosen on the validation split, or by folds without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from fgvc_cli.methods.base import Fit, Labelled
from fgvc_cli.ops.vectors.logistic import Fitted, fit_logistic
from fgvc_cli.spec.methods.probe import ProbeSpec

_ROUGH = 2e-4  # the gradient at which a candidate's accuracy is settled
_STEPS = 100


Tell = Callable[[str], object]
Criterion = Literal["top1", "likelihood"]  # by which a strength is chosen; the likelihood also of overconfident answers


def fit_linear(
    classifier: nn.Linear, train: Labelled, val: Labelled | None, spec: ProbeSpec, tell: Tell, by: Criterion = "top1"
) -> Fit:
    """Set a linear classifier to the logistic regression of the training images, at the strength that predicts best."""
    strength, unseen = choose_strength(train, val, classifier.out_features, spec, tell, by)
    each = torch.tensor([strength])
    fitted = fit_logistic(train.embeddings, train.labels, classifier.out_features, each, train.weights)
    if not bool(fitted.converged.all()):
        tell(f"note: the regression stopped after {fitted.iterations} iterations, before it was exact")
    with torch.no_grad():
        classifier.weight.copy_(fitted.weight[0])
        classifier.bias.copy_(fitted.bias[0])
    return Fit({"strength": strength, "iterations": fitted.iterations}, unseen)


class Choice(NamedTuple):
    """A strength."""

    strength: float
    unseen: Tensor | None  # (N, K) logits of each training image by a fit to the other folds; None: there are no folds


def choose_strength(
    train: Labelled, val: Labelled | None, classes: int, spec: ProbeSpec, tell: Tell, by: Criterion = "top1"
) -> Choice:
    """The strength with the highest accuracy, or likelihood, on images that were not fitted; of equal ones the lowest.

    All strengths, and all folds, are one batched problem.
    """
    strengths = sorted(spec.strengths)
    if val is not None:
        if len(strengths) == 1:
            return Choice(strengths[0], None)
        found = _rough(train, classes, torch.tensor(strengths), train.weights.expand(len(strengths), -1))
        logits, labels = found.logits(val.embeddings), val.labels
        where = "on the validation split"
    else:
        labels = train.as_evaluated.labels
        folds = min(spec.folds, len(labels))
        logits = out_of_fold(train, classes, strengths, folds)
        where = f"by {folds} folds of the training images"
    scores = _scores(logits, labels).mean(2)
    best = int(scores[0 if by == "top1" else 1].argmax())
    if len(strengths) > 1:
        tell(f"strength {strengths[best]:g}, chosen {where}: {100 * float(scores[0, best]):.1f} % top-1 there")
    return Choice(strengths[best], logits[best] if val is None else None)


def _scores(logits: Tensor, labels: Tensor) -> Tensor:
    """(P, N, K) → (2, P, N): whether each answer is right, and the logarithm of the true class's probability."""
    likelihood = logits.log_softmax(2).gather(2, labels.expand(len(logits), -1)[..., None])[..., 0]
    return torch.stack([(logits.argmax(2) == labels).float(), likelihood])


def _rough(train: Labelled, classes: int, strengths: Tensor, weights: Tensor) -> Fitted:
    embeddings, labels = train.embeddings, train.labels
    return fit_logistic(embeddings, labels, classes, strengths, weights, iterations=_STEPS, tolerance=_ROUGH)


def out_of_fold(train: Labelled, classes: int, strengths: list[float], folds: int) -> Tensor:
    """(S, N, K) logits of each image by a classifier of each strength, fitted to the other folds: one batched problem.

    All views of an image are in its fold; it is asked about as in evaluation.
    """
    plain = train.as_evaluated
    fold = folds_of(plain.labels, folds)
    out = torch.stack([fold == number for number in range(folds)]).repeat(len(strengths), 1)  # (S · F, N)
    weights = (~out).repeat(1, train.views) * train.weights
    found = _rough(train, classes, torch.tensor(strengths).repeat_interleave(folds), weights)
    logits = found.logits(plain.embeddings).reshape(len(strengths), folds, len(fold), classes)
    return logits[:, fold, torch.arange(len(fold), device=fold.device)]


def folds_of(labels: Tensor, folds: int) -> Tensor:
    """(N,) the fold of each image: dealt out in turns, class after class.

    The same for the same labels; every fold has an image where there are as many images.
    """
    order = torch.argsort(labels.cpu(), stable=True)
    fold = torch.empty_like(order)
    fold[order] = torch.arange(len(order)) % folds
    return fold.to(labels.device)
