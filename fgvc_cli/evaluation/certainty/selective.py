"""Selective prediction: which answers are right if only those above a threshold of confidence are given.

Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, https://arxiv.org/abs/1705.08500
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.confusion import csv_stream, write_csv
from fgvc_cli.evaluation.metrics import Floats, Integers, Predicted

COVERAGES = (80, 90, 95)  # per cent of the images
HEADER = ("threshold", "coverage", "accuracy")


@dataclass(frozen=True)
class RiskCoverage:
    """The M distinct confidences of N images as thresholds, highest first; (M,) each.

    An image is answered if its confidence is at least the threshold: images of equal confidence are answered together
    or not at all.
    """

    threshold: Floats
    answered: Integers  # images
    right: Integers  # of those

    @classmethod
    def of(cls, confidence: Floats, right: NDArray[np.bool_]) -> RiskCoverage:
        """The curve of (N,) confidences and whether each answer is right, N ≥ 1."""
        order = np.argsort(-confidence, kind="stable")
        ordered, hits = confidence[order], np.cumsum(right[order])
        last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # the last image of each confidence
        return cls(ordered[last], last + 1, hits[last].astype(np.int64))

    @property
    def coverage(self) -> Floats:
        """(M,) share of the images that are answered, ascending to 1."""
        return np.asarray(self.answered / self.answered[-1], dtype=np.float64)

    @property
    def accuracy(self) -> Floats:
        """(M,) share of the answers that are right."""
        return self.right / self.answered

    def accuracy_at(self, coverage: float) -> float:
        """The accuracy at the highest threshold that answers at least this share (0..1) of the images."""
        return float(self.accuracy[np.searchsorted(self.coverage, coverage - 1e-12)])

    def area(self) -> float:
        """Area under the risk-coverage curve, 0..1, lower is better: the mean risk of the i most confident, i = 1..N.

        Images of equal confidence count as if in random order.
        """
        errors = self.answered - self.right
        before, wrong = np.append(0, self.answered[:-1]), np.append(0, errors[:-1])
        size = self.answered - before
        place = np.arange(1, self.answered[-1] + 1)
        group = np.repeat(np.arange(len(size)), size)
        rate = (errors - wrong) / size
        return float(np.mean((wrong[group] + rate[group] * (place - before[group])) / place))

    def threshold_for(self, precision: float) -> float | None:
        """The lowest threshold whose answers have at least this precision (0..1); None if none has.

        A higher precision never has a lower threshold.
        """
        enough = np.flatnonzero(self.right >= precision * self.answered - 1e-9)
        return float(self.threshold[enough[-1]]) if len(enough) else None

    def measures(self) -> dict[str, float]:
        """`area`, and `accuracy_80`, `_90` and `_95` at these per cent of coverage."""
        return {"area": self.area(), **{f"accuracy_{share}": self.accuracy_at(share / 100) for share in COVERAGES}}

    def write(self, path: Path) -> None:
        """Write the curve as CSV, one row a threshold."""
        write_csv(
            path, HEADER, zip(self.threshold.tolist(), self.coverage.tolist(), self.accuracy.tolist(), strict=True)
        )

    def draw(self, path: Path) -> None:
        """Write the curve as a PNG: the share of wrong answers by coverage."""
        from fgvc_cli.figures import new_figure, save_figure

        figure = new_figure(4.5, 3.2)
        axes = figure.add_subplot()
        axes.plot(100 * self.coverage, 100 * (1 - self.accuracy), color="#3b75af", drawstyle="steps-pre")
        axes.axhline(100 * (1 - float(self.accuracy[-1])), color="#999999", linewidth=0.8, linestyle="--")
        axes.set_xlim(0, 100)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("coverage: images answered, most confident first (%)")
        axes.set_ylabel("risk: wrong answers (%)")
        axes.set_title(f"area {100 * self.area():.2f} %; dashed: all images answered", fontsize=9)
        save_figure(path, figure)


def read_curve(path: Path) -> list[tuple[float, float]]:
    """(coverage, accuracy) of each row of `RiskCoverage.write`. FgvcError if the file is missing or damaged."""
    try:
        return [(float(row["coverage"]), float(row["accuracy"])) for row in csv.DictReader(csv_stream(path))]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise FgvcError(f"cannot read {path}: {error}; run `fgvc eval` again") from None


def selective(predicted: Predicted, target: Mapping[str, Any] | None) -> dict[str, Any]:
    """`selective`: measures of the risk-coverage curve; with a `target` of `Validation.target` also what came of it."""
    right = predicted.labels == predicted.classes
    found: dict[str, Any] = {"selective": RiskCoverage.of(predicted.calibrated, right).measures()}
    if target is not None:
        found["target"] = {**target, **answered(predicted.calibrated, right, target["threshold"])}
    return found


def answered(confidence: Floats, right: NDArray[np.bool_], threshold: float) -> dict[str, float]:
    """`coverage` and `precision` (1 if nothing is answered) of the answers at or above a threshold."""
    given = confidence >= threshold
    return {"coverage": float(given.mean()), "precision": float(right[given].mean()) if given.any() else 1.0}
