"""The whole answer as one module: uint8 images → calibrated probabilities, and the evidence as named outputs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fgvc_cli.data.loading.to_device import normalising
from fgvc_cli.errors import FgvcError
from fgvc_cli.inference.exported.about import EMBEDDING, LOGITS, PROBABILITIES, Evidences
from fgvc_cli.inference.look import Model
from fgvc_cli.methods.base import Evidence, Output


class Graph(nn.Module):
    """Normalise, forward, temperature, softmax, as `fgvc predict` does.

    Args:
        model: a run's model on the CPU, prepared for inference.
        evidence: whether the method's evidence is returned as well.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, model: Model, *, evidence: bool = False) -> None:
        super().__init__()
        self.method = model.trained.method
        self.temperature = model.trained.temperature
        self.evidence = evidence
        shift, scale = normalising(*model.spec.data.normalisation)
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, S, S) uint8 → probabilities (B, K) float32, and with evidence what `names_of` lists."""
        output = self.method((images.to(torch.float32) - self.shift) * self.scale, evidence=self.evidence)
        probabilities = (output.logits.float() / self.temperature).softmax(1)
        if not self.evidence:
            return (probabilities,)
        return (probabilities, *(value for _, value in _named(output)))


class Halved(nn.Module):
    """A graph whose method keeps its weights in 16 bits and computes in 32, on any device.

    Args:
        graph: stays as it is.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.whole = deepcopy(graph)
        self.wide = {name: one.dtype for name, one in self._tensors().items() if one.is_floating_point()}
        for one in self._tensors().values():
            one.data = one.data.half() if one.is_floating_point() else one.data

    def _tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of the method; grids that it computes at the start stay as they are."""
        found: dict[str, Tensor] = self.whole.method.state_dict(prefix="method.", keep_vars=True)
        return found

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """As `Graph`."""
        tensors = self._tensors()
        weights = {name: tensors[name].to(dtype) for name, dtype in self.wide.items()}
        found: tuple[Tensor, ...] = functional_call(self.whole, weights, (images,))
        return found


def example(model: Model, *, batch: int) -> Tensor:
    """(batch, 3, S, S) uint8 of noise, the same every time."""
    side = model.spec.data.side
    return torch.randint(0, 256, (batch, 3, side, side), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def traced(
    model: Model, *, evidence: bool, dynamic_batch: bool, half: bool = False
) -> tuple[torch.export.ExportedProgram, list[str], Evidences | None]:
    """The program of a model, the names of its outputs, and which evidence they are.

    Args:
        model: a run's model on the CPU, prepared for inference.
        evidence: whether evidence is among the outputs.
        dynamic_batch: whether it takes any number of images; else one.
        half: whether its weights are kept in 16 bits.

    Raises:
        FgvcError: what the method computes cannot be written down for any batch, or at all.
    """
    graph = Graph(model, evidence=evidence).eval()
    images = example(model, batch=2 if dynamic_batch else 1)
    shapes = ({0: torch.export.Dim("batch", min=1)},) if dynamic_batch else None
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about weights that a module keeps under two names
            output = graph.method(images.float(), evidence=True) if evidence else None
            whole = Halved(graph) if half else graph
            program = torch.export.export(whole, (images,), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # torch.export raises errors of many types
        raise FgvcError(_not_traced(model, error, dynamic_batch=dynamic_batch)) from error
    if output is None or output.evidence is None:
        return program, [PROBABILITIES], None
    return program, [PROBABILITIES, *(name for name, _ in _named(output))], _kinds(output.evidence)


def _not_traced(model: Model, error: Exception, *, dynamic_batch: bool) -> str:
    name = model.spec.method.name
    if dynamic_batch and ("specialized" in str(error) or "batch" in str(error)):
        return f"method {name} with these settings works on a fixed number of images: leave --dynamic-batch out"
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"method {name} on {model.spec.backbone.name} cannot be exported: {line}"


def _named(output: Output) -> Iterator[tuple[str, Tensor]]:
    """Logits and evidence by name: boxes and frames in network-input pixels."""
    yield LOGITS, output.logits.float()
    evidence = output.evidence
    if evidence is None:
        return
    if evidence.embedding is not None:
        yield EMBEDDING, evidence.embedding.float()
    for name, boxes in evidence.boxes.items():
        yield f"boxes.{name}.xyxy", boxes.xyxy.float()
        yield f"boxes.{name}.scores", boxes.scores.float()
        yield f"boxes.{name}.valid", boxes.valid
    for name, maps in evidence.maps.items():
        yield f"maps.{name}.values", maps.values.float()
        yield f"maps.{name}.frame", maps.frame.float()
    for name, grid in evidence.grids.items():
        yield f"grids.{name}.values", grid.values.float()
        yield f"grids.{name}.frame", grid.frame.float()
    for name, relation in evidence.relations.items():
        yield f"relations.{name}", relation.float()


def _kinds(evidence: Evidence) -> Evidences:
    return Evidences(
        boxes={name: one.xyxy.shape[1] for name, one in evidence.boxes.items()},
        maps={name: one.kind for name, one in evidence.maps.items()},
        grids={name: one.kind for name, one in evidence.grids.items()},
        relations=list(evidence.relations),
        embedding=evidence.embedding is not None,
    )
