"""What is said of images that a run was not trained on, kept in the run: thresholds are chosen by it, never by a test.

They are those of the validation split. A method that is fitted at once does without: its training images are said by a
fit to the other folds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.evaluation.certainty.selective import RiskCoverage
from fgvc_cli.files import explained, write_atomically
from fgvc_cli.runs.folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

VALIDATION, FOLDS = "validation images", "training images by folds"
COLUMNS = ("confidence", "right", "score")
_ROWS = 1 << 22  # probabilities held at once


@dataclass(frozen=True)
class Validation:
    """The N images; (N,) each."""

    confidence: NDArray[np.float32]  # calibrated probability of the predicted class
    right: NDArray[np.uint8]  # whether that is the true class
    score: NDArray[np.float32]  # the true class's, of `conformal`
    images: str = VALIDATION  # what they are, for messages

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, temperature: float, *, folds: bool = False) -> Validation:
        """From (N, K) final logits and (N,) labels; `folds`: of training images by a fit to the other folds."""
        import torch

        from fgvc_cli.evaluation.certainty.conformal import true_scores

        parts = []
        step = max(1, _ROWS // logits.shape[1])
        for first in range(0, len(labels), step):
            probabilities = (logits[first : first + step].float() / temperature).softmax(1)
            truth, best = labels[first : first + step], probabilities.max(1)
            parts.append((best.values, (best.indices == truth).to(torch.uint8), true_scores(probabilities, truth)))
        confidence, right, score = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
        return cls(confidence, right, score, FOLDS if folds else VALIDATION)

    def save(self, run: RunFolder, epoch: int, temperature: float) -> None:
        """Write it into the run, complete or not at all."""
        import torch

        from fgvc_cli.machine.tensor_files import write_tensors

        tensors = {name: torch.from_numpy(getattr(self, name)) for name in COLUMNS}
        about = {"epoch": str(epoch), "temperature": repr(temperature), "images": self.images}
        file = run.validation_file
        with explained(str(file)):
            write_atomically(file, lambda temporary: write_tensors(temporary, tensors, about))

    def threshold(self, precision: float) -> float:
        """The confidence from which answers have this precision on the validation split. BadRequest: none has."""
        curve = RiskCoverage.of(self.confidence.astype(np.float64), self.right.astype(np.bool_))
        found = curve.threshold_for(precision)
        if found is None:
            raise BadRequest(
                f"--target-precision {precision:g}: no threshold reaches it on the {len(self.right)} {self.images}"
                f" (at best {100 * float(curve.accuracy.max()):.1f} %): ask for less"
            )
        return found

    def target(self, precision: float) -> dict[str, Any]:
        """`threshold` for the precision, and what it was chosen by, for a result."""
        about = {"validation_images": len(self.right), "images": self.images}
        return {"asked": precision, "threshold": self.threshold(precision), **about}

    def limit(self, coverage: float) -> float:
        """The quantile for prediction sets of this coverage. BadRequest: there are too few images for it."""
        found = quantile(self.score, coverage)
        if found == float("inf"):
            least = int(np.ceil(coverage / (1 - coverage) - 1e-9))
            raise BadRequest(
                f"--set-coverage {coverage:g} needs at least {least} {self.images}, and there are {len(self.score)}"
            )
        return found


def quantile(validation: NDArray[np.float32], coverage: float) -> float:
    """The ceil((n + 1) · coverage)-th smallest of n scores of true classes; infinity if n is smaller than that."""
    place = math.ceil((len(validation) + 1) * coverage - 1e-9)
    return float(np.sort(validation)[place - 1]) if place <= len(validation) else math.inf


def open_validation(file: Path, run: RunFolder | None, epoch: int, temperature: float) -> Validation:
    """The record of a model's run.

    Args:
        file: the model's.
        run: its run folder, if it is in one.
        epoch: the model's.
        temperature: the model's.

    Raises:
        BadRequest: there is none, as the run has no validation split.
        FgvcError: it is damaged, or of another state of the model.
    """
    from fgvc_cli.machine.tensor_files import DamagedError, read_metadata, read_tensors

    if run is None:
        raise BadRequest(f"{file} is in no run folder, and thresholds are kept there: name the run's folder")
    kept = run.validation_file
    try:
        about, tensors = read_metadata(kept), read_tensors(kept)
        columns = {name: tensor.numpy() for name, tensor in tensors.items()}
        found = Validation(**columns, images=about.get("images", VALIDATION))
    except FileNotFoundError:
        raise BadRequest(_without(run)) from None
    except OSError as error:
        raise FgvcError(f"cannot read {kept}: {error.strerror or error}") from None
    except (DamagedError, TypeError) as error:
        raise FgvcError(f"cannot read {kept}: {error}; `fgvc train --resume {run.typed}` writes it again") from None
    if about.get("epoch") != str(epoch) or about.get("temperature") != repr(temperature):
        raise FgvcError(f"{kept} is of another state of the model: `fgvc train --resume {run.typed}` writes it again")
    return found


def _without(run: RunFolder) -> str:
    if run.calibration_file.exists():
        return f"{run.path} was trained by an older fgvc: `fgvc train --resume {run.typed}` adds what is missing"
    return (
        f"{run.path} has no validation split, and a threshold must not be chosen by test images: "
        "train with --val-fraction 0.1"
    )
