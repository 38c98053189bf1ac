"""Run a trained model on images: the common part of predict, viz and report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fgvc_cli.data.loading.to_device import to_device
from fgvc_cli.data.types import Batch
from fgvc_cli.inference.loaded import load_pictures
from fgvc_cli.inference.outcome import Floats, Outcome, PlacedBoxes
from fgvc_cli.inference.pictures import OnBad, Picture
from fgvc_cli.inference.request import EvalRequest, with_request
from fgvc_cli.inference.trained import Trained, load_trained, make_ready
from fgvc_cli.machine.device import autocast, prepare_device
from fgvc_cli.methods.base import Output
from fgvc_cli.ops.geometry import to_original
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    from fgvc_cli.inference.dataset import Images


@dataclass(frozen=True)
class Model:
    """A run's selected model on its device, ready to predict."""

    file: Path  # model.safetensors
    trained: Trained
    spec: RunSpec  # with the request's changes
    device: torch.device
    request: EvalRequest = field(default_factory=EvalRequest)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.trained.classes

    @property
    def name(self) -> str:
        """A name for messages: the run folder's, or the file's if it is not in a run folder."""
        return self.file.name if self.run is None else self.run.name

    @property
    def run(self) -> RunFolder | None:
        """The run folder that holds the file, if there is one."""
        folder = RunFolder(self.file.parent)
        return folder if folder.spec_file.is_file() else None

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax of the final logits (B, K), calibrated if the run has a temperature: (B, K) float32."""
        return (logits.detach().float() / self.trained.temperature).softmax(1)

    def answer(
        self, pictures: Sequence[Picture], *, evidence: bool = False, on_bad: OnBad | None = None
    ) -> Iterator[Outcome]:
        """As `fgvc_cli.inference.outcome.Answers.answer`."""
        for seen in look(self, pictures, evidence=evidence, on_bad=on_bad):
            yield seen.outcome()

    def open_images(self, console: Console) -> Images:
        """The images that the request names: a split of the data that the model was trained on, or new photos."""
        from fgvc_cli.inference.dataset import open_images  # the readers of datasets would delay `fgvc predict`

        return open_images(RunFolder(self.file.parent), self.trained, self.request, console)


@dataclass(frozen=True)
class Seen:
    """B images and the model's output for them."""

    pictures: tuple[Picture, ...]
    originals: tuple[Tensor, ...]  # (3, H, W) uint8 each; empty unless requested
    sizes: tuple[tuple[int, int], ...]  # (H, W) of each original
    batch: Batch  # on the device, images normalised; labels are -1 if the true class is not known
    output: Output
    probabilities: Tensor  # (B, K) float32

    def outcome(self) -> Outcome:
        """What the model says, as arrays."""
        evidence = self.output.evidence
        sure = _array(self.probabilities)
        if evidence is None:
            return Outcome(self.pictures, self.sizes, sure)
        maps, embedding = _array(self.batch.to_original), evidence.embedding
        boxes = {
            name: PlacedBoxes.of_input(_array(one.xyxy), _array(one.scores), one.valid.cpu().numpy(), maps, self.sizes)
            for name, one in evidence.boxes.items()
        }
        logits = _array(self.output.logits)
        return Outcome(self.pictures, self.sizes, sure, logits, None if embedding is None else _array(embedding), boxes)

    def original_boxes(self, boxes: Tensor) -> Tensor:
        """Boxes (B, R, 4) in network-input pixels → in the original images' pixels, clipped to the images: (B, R, 4).

        The evaluation transform neither rotates nor flips, so the result is a box again.
        """
        corners = to_original(self.batch.to_original, boxes.float().reshape(len(boxes), -1, 2)).reshape(boxes.shape)
        ends = torch.tensor([(width, height) * 2 for height, width in self.sizes], dtype=torch.float32)
        return torch.minimum(corners.clamp_min(0), ends.to(corners.device)[:, None])


def _array(values: Tensor) -> Floats:
    array: Floats = values.detach().float().cpu().numpy()
    return array


def open_model(path: Path, request: EvalRequest | None = None) -> Model:
    """Open the model of a run folder, or a `model.safetensors` in any folder.

    Raises:
        BadRequest: there is no run or model at `path`, or the device is not available.
    """
    file = path if path.is_file() else RunFolder.open(path).model_file
    trained, request = load_trained(file), request or EvalRequest()
    spec = with_request(trained.spec, request)
    device = prepare_device(spec.train)
    make_ready(trained, device)
    return Model(file, trained, spec, device, request)


def look(
    model: Model,
    pictures: Sequence[Picture],
    *,
    evidence: bool = False,
    gradients: bool = False,
    originals: bool = False,
    on_bad: OnBad | None = None,
) -> Iterator[Seen]:
    """The model's outputs, batch by batch and in order.

    Args:
        model: the model to run.
        pictures: the images to run it on.
        evidence: whether the method returns its evidence as well.
        gradients: whether to keep the autograd graph from the images to the logits (for Grad-CAM).
        originals: whether to keep the images as they are in their files.
        on_bad: called with each image that cannot be read, which is then left out; None: the ImageError is raised.
    """
    data, train = model.spec.data, model.spec.train
    size = train.eval_batch_size or train.batch_size
    for loaded in load_pictures(pictures, data, size, originals=originals, on_bad=on_bad):
        batch = to_device(loaded.batch, model.device, *data.normalisation)
        method = model.trained.method
        graph = recurrent_graph(method) if gradients else nullcontext()
        with torch.set_grad_enabled(gradients), autocast(model.device, train.precision), graph:
            if gradients:  # the weights may be frozen, so the graph must begin at the images
                batch = replace(batch, images=batch.images.requires_grad_())
            output = method(batch.images, evidence=evidence)
        about = (loaded.pictures, loaded.originals, loaded.sizes, batch)
        yield Seen(*about, output, model.probabilities(output.logits))


@contextmanager
def recurrent_graph(method: nn.Module) -> Iterator[None]:
    """In this context, recurrent layers support a backward pass and compute the same values as in evaluation mode.

    cuDNN keeps what its backward pass needs only in training mode, and raises its error only in the backward pass. So
    these layers, and no others, are in training mode in this context, with a dropout of 0.
    """
    layers = [module for module in method.modules() if isinstance(module, nn.RNNBase)]
    before = [(layer.training, layer.dropout) for layer in layers]
    try:
        for layer in layers:
            layer.training, layer.dropout = True, 0.0
        yield
    finally:
        for layer, (training, dropout) in zip(layers, before, strict=True):
            layer.training, layer.dropout = training, dropout
