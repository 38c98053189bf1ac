"""A training step: the method, its forward and backward pass, its optimizer and learning-rate schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn, optim

from fgvc_cli.backbones import freeze
from fgvc_cli.data.loading.to_device import to_device
from fgvc_cli.data.loading.transforms import mix
from fgvc_cli.data.types import Batch
from fgvc_cli.errors import FgvcError
from fgvc_cli.machine.compiling import Compiled, compiling
from fgvc_cli.machine.device import autocast, grad_scaler
from fgvc_cli.machine.distributed import quiet, shared_statistics, together, world
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Behind, Method, behind_embedding
from fgvc_cli.runs.checkpoint import difference
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.training.averages.moving import Average
from fgvc_cli.training.levels import LevelLosses
from fgvc_cli.training.mixing import regularise
from fgvc_cli.training.optim import build_optimizer
from fgvc_cli.training.schedule import build_scheduler


class StepModule(nn.Module):
    """Forward pass and losses as one module, so that DDP and the compiler wrap both."""

    def __init__(self, method: Method, *, embedded: bool = False, levels: LevelLosses | None = None) -> None:
        super().__init__()
        self.method = method
        self.levels = levels
        self.embedded = embedded  # whether it gets embeddings (B, D) in the place of images

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S), (B,) or (B, K) → the total `loss`, each loss by name, and `top1` of the final logits."""
        output = behind_embedding(self.method).classify(images) if self.embedded else self.method(images)
        losses = self.method.losses(output, labels)
        if self.levels is not None:
            losses = losses | self.levels(output.logits, labels)
        hard = labels if labels.ndim == 1 else labels.argmax(1)
        top1 = (output.logits.detach().argmax(1) == hard).float().mean()
        return {"loss": torch.stack(list(losses.values())).sum(), **losses, "top1": top1}


@dataclass
class Learner:
    """A method on its device, its optimizer, schedule and average. Nothing in a step waits for the device."""

    spec: RunSpec
    num_classes: int
    device: torch.device
    method: Method
    optimizer: optim.Optimizer
    scheduler: optim.lr_scheduler.LambdaLR
    scaler: torch.amp.GradScaler
    average: Average | None  # of the weights, if the spec asks for one
    notes: tuple[str, ...]  # what the user should know about the initial weights
    step: nn.Module = field(default_factory=nn.Identity)  # forward pass and losses, wrapped; set by begin_epoch
    compiled: Compiled | None = None  # the compiled part of the step, if the spec asks for it
    levels: LevelLosses | None = None  # of a tree of the classes, if the spec weights them
    embedded: bool = False  # whether batches hold embeddings in the place of images
    measured: nn.Module = field(default_factory=nn.Identity)  # `selected`, compiled if the spec asks for it

    @classmethod
    def build(
        cls,
        spec: RunSpec,
        num_classes: int,
        device: torch.device,
        *,
        steps_per_epoch: int,
        load_weights: bool,
        classes: Sequence[str] | None = None,
    ) -> Learner:
        """Build a spec's method for K classes, ready to train. Seeds the default random generators.

        `classes`: their names, by which the weights of another run are loaded.
        """
        torch.manual_seed(spec.train.seed)
        method, notes = build_method(spec, num_classes, load_weights=load_weights, classes=classes)
        method = shared_statistics(method, device) if spec.train.sync_batchnorm else method
        method = method.to(device).to(memory_format=torch.channels_last)
        if not world().main:  # the initial weights are the same for all, later random numbers differ
            torch.manual_seed(mix(spec.train.seed, world().rank))
        average = Average(method, spec.train.ema_decay) if spec.train.ema_decay else None
        optimizer = build_optimizer(method, spec.optim, spec.train.batch_size)
        starts = spec.method.stage_starts(spec.train.epochs)
        scheduler = build_scheduler(optimizer, spec.optim, spec.train.epochs, steps_per_epoch, starts)
        scaler = grad_scaler(device, spec.train.precision)
        return cls(spec, num_classes, device, method, optimizer, scheduler, scaler, average, tuple(notes))

    @property
    def selected(self) -> Method:
        """The method that is evaluated and saved as the run's model: with the averaged weights if there are any."""
        return self.method if self.average is None else self.average.method

    def begin_epoch(self, epoch: int) -> None:
        """Tell the method and its averaged copy which epoch begins. If the method changes, wrap the step again."""
        epochs, backbone = self.spec.train.epochs, self.spec.backbone
        frozen = "all" if epoch < backbone.frozen_epochs else backbone.freeze
        norm = backbone.keeps_statistics
        changed = freeze(self.method, frozen, norm=norm)
        changed = self.method.on_epoch(epoch, epochs) or changed
        freeze(self.method, frozen, norm=norm)  # a method that trains in stages may have released it
        if self.average is not None:
            self.average.method.on_epoch(epoch, epochs)
        if changed or isinstance(self.step, nn.Identity):
            self._wrap()

    def _wrap(self) -> None:
        """Build the step of the method in its current stage."""
        step: nn.Module = StepModule(self.method, embedded=self.embedded, levels=self.levels)
        self.measured = Behind(self.selected) if self.embedded else self.selected
        if self.spec.train.compile:
            torch.compiler.reset()  # the previous stage's graphs are not used again
            step = self.compiled = Compiled(step)
            self.measured = Compiled(self.measured)
        self.step = together(step, self.device, accumulate=self.spec.optim.accumulate)

    @property
    def fresh(self) -> bool:
        """Whether the next step will be compiled first."""
        return self.compiled is not None and self.compiled.fresh

    def prepared(self, batch: Batch) -> Batch:
        """A loader's batch on the device: normalised, mixed, labels smoothed."""
        batch = to_device(batch, self.device, *self.spec.data.normalisation)
        return regularise(batch, self.spec.regularise, self.num_classes)

    def backward(self, batch: Batch, *, share: float = 1.0, complete: bool = True) -> dict[str, Tensor]:
        """Forward and backward pass of a prepared batch. Returns what StepModule does; gradients add up until `update`.

        Args:
            batch: on the device.
            share: the weight of its loss.
            complete: whether `update` follows; only then several processes exchange their gradients.
        """
        fresh = self.fresh
        with quiet(self.step, complete=complete):
            with autocast(self.device, self.spec.train.precision), batch_norm_explained():
                values: dict[str, Tensor] = self.step(batch.images, batch.labels)
            with compiling() if fresh else nullcontext():  # the backward graph is compiled on its first call
                self.scaler.scale(values["loss"] * share).backward()  # type: ignore[no-untyped-call]
        return values

    def update(self) -> None:
        """Make an optimizer step and a scheduler step, then update the average."""
        if self.spec.optim.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.method.parameters(), self.spec.optim.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        if self.average is not None:
            self.average.update(self.method)

    def tensors(self) -> dict[str, Any]:
        """All tensors that must be finite."""
        average = {} if self.average is None else self.average.state_dict()
        return {**self.method.state_dict(), "average": average, "optimizer": self.optimizer.state_dict()}

    def state(self) -> dict[str, Any]:
        """The state that goes into a checkpoint."""
        return {
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Load what `state` returned. ValueError if a part has another form than this learner's."""
        self._compare(state)
        self.method.load_state_dict(state["method"])
        for group, own in zip(state["optimizer"]["param_groups"], self.optimizer.param_groups, strict=True):
            group["fused"] = own["fused"]  # the state may come from another kind of device
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    def _compare(self, state: dict[str, Any]) -> None:
        """PyTorch's objects accept settings of any kind, and fail later."""
        own = self.state()
        groups = [{**group, "fused": None} for group in own["optimizer"]["param_groups"]]
        saved = [{**group, "fused": None} for group in state["optimizer"]["param_groups"]]
        names = ("method", "scheduler", "scaler", "average")
        found = [difference(state[name], own[name], name) for name in names if state[name] and own[name]]
        found.append(difference(saved, groups, "optimizer.param_groups"))
        parameters = _parameters(self.optimizer)
        for number, values in state["optimizer"]["state"].items():
            shape = parameters[number].shape
            found += [
                f"optimizer.state.{number}.{name} has another shape than its parameter"
                for name, value in values.items()
                if isinstance(value, Tensor) and value.ndim and value.shape != shape
            ]
        problem = next((place for place in found if place is not None), None)
        if problem is not None:
            raise ValueError(problem)


def _parameters(optimizer: optim.Optimizer) -> list[Tensor]:
    """The parameters in the order by which the optimizer's saved state numbers them."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def random_batch(size: int, side: int, num_classes: int, device: torch.device) -> Batch:
    """A prepared batch of random pixels, for counting and timing."""
    images = torch.randn(size, 3, side, side, device=device).to(memory_format=torch.channels_last)
    number = torch.arange(size, device=device)
    return Batch(images, number % num_classes, number, torch.eye(2, 3, device=device).expand(size, 2, 3))


@contextmanager
def batch_norm_explained() -> Iterator[None]:
    """Replace BatchNorm's error about a single value per channel by an FgvcError that says what to do."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise FgvcError(
            "BatchNorm cannot train on a batch of one: use a larger --batch-size (and at least two training images)"
        ) from error
