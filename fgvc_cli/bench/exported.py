"""An exported file as a way of inference, beside the folded eager model of the same spec."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgvc_cli.bench.ways import Case
from fgvc_cli.inference.exported import Exported, open_exported
from fgvc_cli.spec.run import RunSpec

EAGER, ENGINE = "eager, folded", "onnxruntime"


def cases_of_export(file: Path, batch_size: int | None) -> list[Case]:
    """The eager model of the file's spec, with random weights, then the file.

    Args:
        file: of `fgvc export --format onnx`.
        batch_size: images of a step; None: 16. The file computes them in pieces, as in `fgvc predict`.

    Raises:
        BadRequest: it is no such file.
    """
    model = open_exported(file)
    size = batch_size or model.batch_size
    spec, classes = _in_fp32(model.spec, size), len(model.classes)
    name = ENGINE if model.precision == "fp32" else f"{ENGINE}, {model.precision}"
    return [Case(EAGER, spec, classes, asked=False), Case(name, spec, classes, exported=model.file)]


def _in_fp32(spec: RunSpec, size: int) -> RunSpec:
    changed = {"batch_size": size, "device": "cpu", "precision": "fp32", "compile": False}
    return spec.model_copy(update={"train": spec.train.model_copy(update=changed)})


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
