"""An exported file as a way of inference, beside the folded eager model of the same spec."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgvc_cli.bench.cases import Case
from fgvc_cli.inference.exported import Exported, open_exported


class ExportedInference:
    """The file's whole graph on uint8 images: it normalises as well, and ends in probabilities."""

    def __init__(self, model: Exported, batch_size: int) -> None:
        self.model = model
        side = model.spec.data.side
        dice = np.random.RandomState(0)
        self.images: NDArray[np.uint8] = dice.randint(0, 256, (batch_size, 3, side, side)).astype(np.uint8)

    @classmethod
    def of(cls, case: Case) -> ExportedInference:
        """On as many threads as PyTorch uses, so that engines are compared and not numbers of cores."""
        assert case.exported is not None
        return cls(open_exported(case.exported, threads=torch.get_num_threads()), case.spec.train.batch_size)

    def step(self) -> object:
        """Probabilities of the batch."""
        return self.model.probabilities(self.images)

    def single(self) -> object:
        """Probabilities of one image."""
        return self.model.probabilities(self.images[:1])

    def tensors(self) -> Iterator[Tensor]:
        """None: onnxruntime's memory is its own."""
        yield from ()
