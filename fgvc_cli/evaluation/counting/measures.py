"""What is measured in one pass over a split. A new measure is added here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from fgvc_cli.data.types import Batch
from fgvc_cli.evaluation.counting.branches import BranchMetrics, Predictions
from fgvc_cli.evaluation.localisation import Localisation
from fgvc_cli.machine.distributed import gathered, total
from fgvc_cli.methods.base import Output


class OfProbabilities(Protocol):
    """A measure of calibrated probabilities."""

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Count a batch: (B, K) and (B,). No value is read from the device."""

    def compute(self) -> dict[str, Any]:
        """What it found. With several processes, all must call this."""


class Measures:
    """What is measured in one pass over a split.

    Args:
        classes: K.
        device: where the counters are.
        located: measures of boxes and maps, if true boxes are known.
        temperature: of the calibrated prediction.
        more: further measures of the calibrated probabilities, by the name that the result has them under.
        keep: whether logits and embeddings of all images are kept, in order. One process only.
    """

    def __init__(
        self,
        classes: int,
        device: torch.device,
        located: Localisation | None = None,
        temperature: float = 1.0,
        more: Mapping[str, OfProbabilities] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self.branches = BranchMetrics(classes)
        self.predictions = Predictions(temperature, device)
        self.located = located
        self.more = dict(more or {})
        self.loss = torch.zeros((), device=device)
        self.images = 0
        self.kept: list[tuple[Tensor, Tensor]] | None = [] if keep else None

    @property
    def need_evidence(self) -> bool:
        """Whether the method must return its evidence."""
        return self.located is not None or self.kept is not None

    def update(self, output: Output, batch: Batch) -> None:
        """Count a batch. No value is read from the device."""
        self.branches.update({"final": output.logits, **output.branches}, batch.labels)
        self.predictions.update(output.logits, batch.labels, batch.index)
        self.loss += F.cross_entropy(output.logits.float(), batch.labels, reduction="sum")
        if self.more:
            probabilities = (output.logits.float() / self.predictions.temperature).softmax(1)
            for measure in self.more.values():
                measure.update(probabilities, batch.labels)
        if self.located is not None and output.evidence is not None:
            self.located.update(output.evidence, batch, output.logits)
        if self.kept is not None and output.evidence is not None and output.evidence.embedding is not None:
            self.kept.append((output.logits, output.evidence.embedding))
        self.images += len(batch.labels)

    def compute(self) -> dict[str, Any]:
        """What `evaluate` returns. With several processes, all must call this; all get the result."""
        images = sum(gathered(self.images))
        result = {
            "images": images,
            "loss": float(total(self.loss)) / images,
            "branches": self.branches.compute(),
            "calibration": self.predictions.read().calibration(self.predictions.temperature),
        }
        result |= {name: measure.compute() for name, measure in self.more.items()}
        return result | ({} if self.located is None else {"localisation": self.located.compute()})
