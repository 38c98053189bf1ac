"""What is measured in one pass over a split. A new measure is added here."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from fgvc_cli.data.types import Batch
from fgvc_cli.evaluation.localisation import Localisation
from fgvc_cli.evaluation.metrics import BranchMetrics, Predictions
from fgvc_cli.machine.distributed import gathered, total
from fgvc_cli.methods.base import Output


class Measures:
    """What is measured in one pass over a split.

    Args:
        classes: K.
        device: where the counters are.
        located: measures of boxes and maps, if true boxes are known.
        temperature: of the calibrated prediction.
    """

    def __init__(
        self, classes: int, device: torch.device, located: Localisation | None = None, temperature: float = 1.0
    ) -> None:
        self.branches = BranchMetrics(classes)
        self.predictions = Predictions(temperature, device)
        self.located = located
        self.loss = torch.zeros((), device=device)
        self.images = 0

    def update(self, output: Output, batch: Batch) -> None:
        """Count a batch. No value is read from the device."""
        self.branches.update({"final": output.logits, **output.branches}, batch.labels)
        self.predictions.update(output.logits, batch.labels, batch.index)
        self.loss += F.cross_entropy(output.logits.float(), batch.labels, reduction="sum")
        if self.located is not None and output.evidence is not None:
            self.located.update(output.evidence, batch, output.logits)
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
        return result | ({} if self.located is None else {"localisation": self.located.compute()})
