"""Measures of telling images of known classes from others by a score that is high for known ones."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fgvc_cli.evaluation.metrics import Floats

RECALL = 0.95  # of images of known classes, at which rates are compared


def auroc(known: Floats, unknown: Floats) -> float:
    """Probability that a known image has a higher score than an unknown one, ties counting half: (N,) and (M,)."""
    ranks = rankdata(np.concatenate([known, unknown]))
    wins = ranks[: len(known)].sum() - len(known) * (len(known) + 1) / 2
    return float(wins / (len(known) * len(unknown)))


def threshold_at(known: Floats, recall: float = RECALL) -> float:
    """The highest threshold at or above which at least this share of the known images are."""
    return float(np.sort(known)[::-1][math.ceil(len(known) * recall - 1e-9) - 1])


def false_positives(known: Floats, unknown: Floats, recall: float = RECALL) -> float:
    """Share of unknown images that are taken for known at the threshold of `threshold_at`."""
    return float(np.mean(unknown >= threshold_at(known, recall)))


def measures(known: Floats, right: NDArray[np.bool_], unknown: Floats, threshold: float) -> dict[str, float]:
    """`auroc`, `fpr95`, and at a threshold that was chosen before:

    `accepted`: share of known images above it; `rejected`: share of unknown images below it; `open_set_accuracy`: share
    of all images that are answered rightly, by their class or as unknown.

    Args:
        known: (N,) scores.
        right: (N,) whether the predicted class is right.
        unknown: (M,) scores.
        threshold: an image with at least this score is taken for known.
    """
    accepted, rejected = known >= threshold, unknown < threshold
    good = int((accepted & right).sum()) + int(rejected.sum())
    return {
        "auroc": auroc(known, unknown),
        "fpr95": false_positives(known, unknown),
        "accepted": float(accepted.mean()),
        "rejected": float(rejected.mean()),
        "open_set_accuracy": good / (len(known) + len(unknown)),
    }
