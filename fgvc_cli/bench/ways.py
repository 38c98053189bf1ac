"""The ways that are timed: training steps and inference, by the same code that trains and predicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fgvc_cli.bench.cases import Case
from fgvc_cli.data.types import Batch
from fgvc_cli.inference.exported import Exported, open_exported
from fgvc_cli.inference.trained import Trained, make_ready
from fgvc_cli.machine.compiling import Compiled
from fgvc_cli.machine.device import autocast
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Method
from fgvc_cli.training.learner import Learner, batch_norm_explained, random_batch

What = Literal["train", "infer"]
_SCHEDULE = 1_000_000  # steps per epoch: the learning rate stays at its start value


class Way(Protocol):
    """A case on a device, ready to be timed."""

    def step(self) -> object:
        """A training step, or inference on a batch."""

    def tensors(self) -> Iterator[Tensor]:
        """The tensors that stay in memory between steps."""


@runtime_checkable
class Inferring(Way, Protocol):
    """A way of inference, on a batch and on a single image."""

    def single(self) -> object:
        """Inference on one image."""


def build_way(case: Case, what: What, device: torch.device) -> Way:
    """Build a case with random weights for training or inference. Nothing is downloaded."""
    if what == "train":
        return StockTraining(case, device) if case.stock else Training(case, device)
    if case.exported is not None:
        return ExportedInference.of(case)
    return StockInference(case, device) if case.stock else Inference(case, device)


class Training:
    """Training steps of a run's own learner, in its last epoch, on a constant batch."""

    def __init__(self, case: Case, device: torch.device) -> None:
        spec = case.spec
        self.learner = Learner.build(spec, case.classes, device, steps_per_epoch=_SCHEDULE, load_weights=False)
        self.learner.begin_epoch(spec.train.epochs - 1)  # the last stage, which trains everything
        self.learner.method.train()
        self.batch = random_batch(spec.train.batch_size, spec.data.side, case.classes, device)

    def step(self, batch: Batch | None = None) -> None:
        """Forward and backward pass and optimizer step, on the constant batch or a prepared one."""
        self.learner.backward(self.batch if batch is None else batch)
        self.learner.update()

    def tensors(self) -> Iterator[Tensor]:
        """Weights, the states of the optimizer and the average, the batch."""
        yield self.batch.images
        yield from self.learner.method.state_dict().values()
        if self.learner.average is not None:
            yield from self.learner.average.method.state_dict().values()
        yield from _kept(self.learner.optimizer)


class StockTraining:
    """A training loop as in a tutorial: contiguous NCHW, fp32, SGD with momentum."""

    def __init__(self, case: Case, device: torch.device) -> None:
        self.method = _untrained(case).to(device).train()
        self.optimizer = torch.optim.SGD(self.method.parameters(), lr=0.001, momentum=0.9)
        batch = random_batch(case.spec.train.batch_size, case.spec.data.side, case.classes, device)
        self.images, self.labels = batch.images.contiguous(), batch.labels

    def step(self) -> None:
        """Forward and backward pass and optimizer step."""
        with _untuned():
            with batch_norm_explained():
                loss = F.cross_entropy(self.method(self.images).logits, self.labels)
            loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()

    def tensors(self) -> Iterator[Tensor]:
        """Weights, momentum, the batch."""
        yield self.images
        yield from self.method.state_dict().values()
        yield from _kept(self.optimizer)


class Inference:
    """A model as in `fgvc predict` and `fgvc eval`, on constant images."""

    def __init__(self, case: Case, device: torch.device) -> None:
        spec = case.spec
        self.spec, self.device = spec, device
        self.method = _untrained(case).eval()
        make_ready(Trained(self.method, spec, tuple(map(str, range(case.classes))), spec.train.epochs), device)
        # A graph is compiled for one batch size, so there are two.
        self._batched, self._alone = (Compiled(self.method) if spec.train.compile else self.method for _ in range(2))
        self.images = random_batch(spec.train.batch_size, spec.data.side, case.classes, device).images
        self.first = random_batch(1, spec.data.side, case.classes, device).images

    def step(self) -> object:
        """Logits of the batch."""
        return self._infer(self._batched, self.images)

    def single(self) -> object:
        """Logits of one image."""
        return self._infer(self._alone, self.first)

    def _infer(self, network: nn.Module, images: Tensor) -> object:
        with torch.inference_mode(), autocast(self.device, self.spec.train.precision):
            return network(images)

    def tensors(self) -> Iterator[Tensor]:
        """Weights and the batch."""
        yield self.images
        yield from self.method.state_dict().values()


class StockInference:
    """The same with PyTorch's defaults: eager, contiguous NCHW, BatchNorm as a layer."""

    def __init__(self, case: Case, device: torch.device) -> None:
        self.method: nn.Module = _untrained(case).eval().to(device)
        batch = random_batch(case.spec.train.batch_size, case.spec.data.side, case.classes, device)
        self.images = batch.images.contiguous()

    def step(self) -> object:
        """Logits of the batch."""
        return self._infer(self.images)

    def single(self) -> object:
        """Logits of one image."""
        return self._infer(self.images[:1])

    def _infer(self, images: Tensor) -> object:
        with torch.no_grad(), _untuned():
            return self.method(images)

    def tensors(self) -> Iterator[Tensor]:
        """Weights and the batch."""
        yield self.images
        yield from self.method.state_dict().values()


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


def _untuned() -> AbstractContextManager[None]:
    """cuDNN with PyTorch's defaults: its algorithms are chosen by heuristics, not by benchmarking."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=True)


def _untrained(case: Case) -> Method:
    torch.manual_seed(case.spec.train.seed)
    method, _ = build_method(case.spec, case.classes, load_weights=False)
    method.on_epoch(case.spec.train.epochs - 1, case.spec.train.epochs)
    return method


def _kept(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))
