"""Classification metrics of a split, each image counted once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class ClassCounts:
    """Per class: correctly predicted images, images predicted as the class, images of the class; (K,) each."""

    hits: Integers
    predicted: Integers
    support: Integers

    @property
    def precision(self) -> Floats:
        """(K,) share of a class's predictions that are correct; nan if there are none."""
        return _ratio(self.hits, self.predicted)

    @property
    def recall(self) -> Floats:
        """(K,) share of a class's images that are predicted correctly; nan if there are none."""
        return _ratio(self.hits, self.support)

    @property
    def f1(self) -> Floats:
        """(K,) harmonic mean of precision and recall, 2·TP / (2·TP + FP + FN); nan for a class without images."""
        return np.where(self.support > 0, _ratio(2 * self.hits, self.predicted + self.support), np.nan)

    def measures(self) -> dict[str, float]:
        """top1, mean_per_class (recall) and macro_f1, in 0..1.

        Both means are over the classes that have images. A class without images has no recall and no F1; if it is
        predicted nevertheless, it lowers the measures of the other classes.
        """
        return {
            "top1": float(self.hits.sum() / max(self.support.sum(), 1)),
            "mean_per_class": _mean(self.recall),
            "macro_f1": _mean(self.f1),
        }


def _ratio(part: Integers, whole: Integers) -> Floats:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(values: Floats) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


@dataclass(frozen=True)
class Predicted:
    """The final prediction of N images, (N,) each."""

    index: Integers  # the image's position in the split
    labels: Integers
    classes: Integers  # the predicted class
    confidence: Floats  # softmax probability of the predicted class
    calibrated: Floats  # the same, with temperature scaling

    def calibration(self, temperature: float) -> dict[str, float]:
        """`ece`; at a temperature other than 1 also `temperature` and `ece_calibrated`."""
        right = self.labels == self.classes
        plain = {"ece": calibration_error(self.confidence, right)}
        if temperature == 1:
            return plain
        return plain | {"temperature": temperature, "ece_calibrated": calibration_error(self.calibrated, right)}


def calibration_error(confidence: Floats, right: NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy, in 0..1.

    Confidences are sorted into M = `bins` equal bins (m-1)/M < p ≤ m/M. Each bin's gap between mean confidence and
    accuracy is weighted by its share of the images. (Bins closed on the left would put confidences of exactly 1 into a
    bin of their own beside the last.)

    Args:
        confidence: (N,) of the predicted class, 0..1.
        right: (N,) whether the prediction is correct.

    Source: Guo et al., On Calibration of Modern Neural Networks, Eq. 3, https://arxiv.org/abs/1706.04599
    """
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    gap = np.bincount(np.digitize(confidence, edges, right=True), weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / max(len(confidence), 1))
