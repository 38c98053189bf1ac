"""What a request promises of a model's answers, by its validation split, and whether that holds on some images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from fgvc_cli.evaluation.certainty.conformal import SetMeasures
from fgvc_cli.evaluation.certainty.validation import Validation, open_validation
from fgvc_cli.evaluation.counting.measures import OfProbabilities
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.inference.trained import Trained
from fgvc_cli.runs.folder import RunFolder


@dataclass(frozen=True)
class Promises:
    """The thresholds of one request."""

    target: dict[str, Any] | None = None  # the precision asked for, and its threshold
    measures: dict[str, OfProbabilities] = field(default_factory=dict)  # of single passes over the images

    @classmethod
    def of(cls, run: RunFolder, trained: Trained, request: EvalRequest, device: torch.device) -> Promises:
        """The thresholds for what is asked. BadRequest: the run has no validation split, or it cannot be promised."""
        if request.target_precision is None and request.set_coverage is None:
            return cls()
        kept = open_validation(run.model_file, run, trained.epoch, trained.temperature)
        target = None if request.target_precision is None else kept.target(request.target_precision)
        return cls(target, _sets(kept, request.set_coverage, device))


def _sets(kept: Validation, coverage: float | None, device: torch.device) -> dict[str, OfProbabilities]:
    return {} if coverage is None else {"sets": SetMeasures(coverage, kept.limit(coverage), device)}
