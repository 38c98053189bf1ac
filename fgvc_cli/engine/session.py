"""Everything a training run holds in memory, built from its spec, saved to and restored from checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel

from fgvc_cli.data.cache import Squares, open_squares
from fgvc_cli.data.loader import Loader, make_loader
from fgvc_cli.data.splits import split_record
from fgvc_cli.data.transforms import mix
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.engine.averaging import averaged, averaged_copy
from fgvc_cli.engine.checkpoint import load_checkpoint, random_state, restore_random_state, save_checkpoint
from fgvc_cli.engine.device import grad_scaler, prepare_device
from fgvc_cli.engine.distributed import gathered, on_main, shared_statistics, together, total, world
from fgvc_cli.engine.environment import describe
from fgvc_cli.engine.evaluate import evaluation_loader, looking, open_index
from fgvc_cli.engine.finite import check_tensors, check_values
from fgvc_cli.engine.optim import build_optimizer, build_scheduler
from fgvc_cli.engine.runfolder import RunFolder
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import write_json
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Method
from fgvc_cli.spec.run import RunSpec


class StepModule(nn.Module):
    """Forward and losses as one module, so that whatever wraps a step wraps all of it."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S), (B,) or (B, K) → the total `loss`, each loss by name, and `top1` of the final logits."""
        output = self.method(images)
        losses = self.method.losses(output, labels)
        hard = labels if labels.ndim == 1 else labels.argmax(1)
        top1 = (output.logits.detach().argmax(1) == hard).float().mean()
        return {"loss": torch.stack(list(losses.values())).sum(), **losses, "top1": top1}


@dataclass
class Averages:
    """Image-weighted means of an epoch's losses, summed on the device and read once a logging interval."""

    totals: dict[str, float] = field(default_factory=dict)
    pending: dict[str, Tensor] = field(default_factory=dict)
    images: int = 0

    @classmethod
    def of(cls, saved: list[dict[str, Any]], rank: int, ranks: int, device: torch.device) -> Averages:
        """Those of one of `ranks` processes, from what each had saved; if they are not as many, the first has all."""
        own = cls(dict(saved[0]["totals"]))
        parts = [saved[rank]] if len(saved) == ranks else saved if rank == 0 else []
        for part in parts:
            for name, value in part["pending"].items():
                value = value.to(device)
                own.pending[name] = own.pending[name] + value if name in own.pending else value
            own.images += part["images"]
        return own

    def add(self, values: dict[str, Tensor], images: int) -> None:
        """Count a batch's values without reading them."""
        for name, value in values.items():
            weighted = value.detach().float() * images
            self.pending[name] = self.pending[name] + weighted if name in self.pending else weighted
        self.images += images

    def flush(self) -> dict[str, float]:
        """Read what is pending from the device; the means so far. FgvcError where the loss is not finite.

        Means over the images of all processes: each has to ask.
        """
        if self.pending:
            read = total(torch.stack(list(self.pending.values()))).tolist()
            for name, value in zip(self.pending, read, strict=True):
                self.totals[name] = self.totals.get(name, 0.0) + value
            self.pending.clear()
        images = sum(gathered(self.images))
        means = {name: value / max(images, 1) for name, value in self.totals.items()}
        check_values(means)
        return means

    def check(self) -> None:
        """FgvcError where a pending loss is not finite. Nothing is flushed: saving must not change any rounding."""
        if self.pending:
            read = total(torch.stack(list(self.pending.values()))).tolist()
            check_values(dict(zip(self.pending, read, strict=True)))

    def state(self) -> dict[str, Any]:
        """For a checkpoint, as it is."""
        return {"totals": self.totals, "pending": self.pending, "images": self.images}


@dataclass
class Position:
    """Where training stands: the next batch is number `batch` of `epoch`; `step` optimizer steps are done."""

    epoch: int = 0
    batch: int = 0
    step: int = 0


@dataclass
class Session:
    """A run in memory."""

    run: RunFolder
    spec: RunSpec
    index: DatasetIndex
    device: torch.device
    method: Method
    optimizer: optim.Optimizer
    scheduler: optim.lr_scheduler.LambdaLR
    scaler: torch.amp.GradScaler
    average: AveragedModel | None  # of the weights, where the spec asks for one
    loader: Loader
    val_loader: Loader | None
    position: Position = field(default_factory=Position)
    averages: Averages = field(default_factory=Averages)
    best: float | None = None  # of the held-out part
    stale: int = 0  # epochs since then
    notes: tuple[str, ...] = ()
    step: nn.Module = field(default_factory=nn.Identity)  # forward and losses, wrapped; from begin_epoch on

    @classmethod
    def build(cls, run: RunFolder, spec: RunSpec, console: Console, *, load_weights: bool) -> Session:
        """Read the data, build the method and what moves it. Seeds the default generators."""
        device = prepare_device(spec.train)
        index = open_training_index(run, spec, console)
        squares = open_squares(index, spec.data, device, looking(console))
        loader = training_loader(index, spec, device, squares)
        val = evaluation_loader(index, index.val, spec, device, squares=squares) if index.val else None
        torch.manual_seed(spec.train.seed)
        method, notes = build_method(spec, len(index.classes), load_weights=load_weights)
        method = shared_statistics(method, device) if spec.train.sync_batchnorm else method
        method = method.to(device).to(memory_format=torch.channels_last)
        if not world().main:  # all begin with the same weights; the dice of their steps are their own
            torch.manual_seed(mix(spec.train.seed, world().rank))
        average = averaged_copy(method, spec.train.ema_decay) if spec.train.ema_decay else None
        optimizer = build_optimizer(method, spec.optim, spec.train.batch_size)
        steps = steps_per_epoch(loader, spec)
        starts = spec.method.stage_starts(spec.train.epochs)
        scheduler = build_scheduler(optimizer, spec.optim, spec.train.epochs, steps, starts)
        scaler = grad_scaler(device, spec.train.precision)
        if spec.optim.lr_images is not None:
            notes = [*notes, f"learning rate {spec.optim.rate(spec.train.batch_size):g}, scaled from {spec.optim.lr:g}"]
        moving = (optimizer, scheduler, scaler, average)
        return cls(run, spec, index, device, method, *moving, loader, val, notes=tuple(notes))

    def rate(self, epoch: int) -> float:
        """The learning rate an epoch begins with, of the scheduler that applies it."""
        steps = steps_per_epoch(self.loader, self.spec)
        return self.spec.optim.rate(self.spec.train.batch_size) * float(self.scheduler.lr_lambdas[0](epoch * steps))

    @property
    def selected(self) -> Method:
        """What is measured and saved as the run's model: the averaged weights where there are any."""
        return self.method if self.average is None else averaged(self.average)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train: every epoch is done, or the held-out part has said enough."""
        return self.position.epoch >= self.spec.train.epochs or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        """Whether as many epochs as the spec's patience brought nothing better."""
        return self.spec.train.patience is not None and self.stale >= self.spec.train.patience

    def begin_epoch(self, epoch: int) -> None:
        """Tell the method, and the copy that follows it, where they are."""
        changed = self.method.on_epoch(epoch, self.spec.train.epochs)
        if changed or isinstance(self.step, nn.Identity):
            step = StepModule(self.method)
            self.step = together(step, self.device, accumulate=self.spec.optim.accumulate)
        if self.average is not None:
            averaged(self.average).on_epoch(epoch, self.spec.train.epochs)

    def check(self) -> None:
        """FgvcError where a loss, a weight or what moves it is not finite: waits for the device."""
        self.averages.check()
        average = {} if self.average is None else self.average.state_dict()
        check_tensors({**self.method.state_dict(), "average": average, "optimizer": self.optimizer.state_dict()})

    def record(self) -> None:
        """Write what a new run keeps beside its spec: classes, drawn splits, environment."""
        if self.index.drawn:
            write_json(self.run.path / "splits.json", split_record(self.index))
        write_json(self.run.path / "classes.json", list(self.index.classes))
        write_json(self.run.path / "environment.json", describe(self.device))

    def save(self) -> None:
        """Write a checkpoint of this moment; never one that is not finite."""
        self.check()
        ranks = gathered({"random": random_state(self.device), "averages": self.averages.state()})
        on_main(lambda: self._write(ranks))

    def _write(self, ranks: list[dict[str, Any]]) -> None:
        state = {
            "position": vars(self.position),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ranks": ranks,
            "average": None if self.average is None else self.average.state_dict(),
            "best": self.best,
            "stale": self.stale,
            "threads": torch.get_num_threads(),
        }
        save_checkpoint(self.run, self.position.step, state, self.spec.train.keep_checkpoints)

    def restore(self, step: int) -> None:
        """Become what was saved at `step`. Bit-exact on the CPU, which needs the same number of threads."""
        state = load_checkpoint(self.run, step)
        if self.device.type == "cpu":
            torch.set_num_threads(state["threads"])
        self.position = Position(**state["position"])
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        ranks, here = state["ranks"], world()
        self.averages = Averages.of([rank["averages"] for rank in ranks], here.rank, here.size, self.device)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.best, self.stale = state["best"], state["stale"]
        if here.rank < len(ranks):
            restore_random_state(ranks[here.rank]["random"], self.device)
        else:  # there were fewer processes: dice that nobody had
            torch.manual_seed(mix(self.spec.train.seed, here.rank, self.position.step))


def steps_per_epoch(loader: Loader, spec: RunSpec) -> int:
    """Optimizer steps of an epoch; the last may gather fewer batches than the others."""
    return math.ceil(len(loader) / spec.optim.accumulate)


def open_training_index(run: RunFolder, spec: RunSpec, console: Console) -> DatasetIndex:
    """The run's dataset. BadRequest where the spec asks for what these data cannot give."""
    index = open_index(run, spec.data, console)
    if spec.train.patience is not None and index.val is None:
        raise BadRequest("train.patience: nothing is held out to be patient about; add --val-fraction 0.1, or leave it")
    return index


def training_loader(index: DatasetIndex, spec: RunSpec, device: torch.device, squares: Squares | None = None) -> Loader:
    """The training images of each epoch, in the order that the run's seed decides, shared by the run's processes.

    Taken from `squares` where they are kept.
    """
    here = world()
    return make_loader(
        index,
        index.train,
        spec.data,
        batch_size=spec.train.batch_size,
        train=True,
        seed=spec.train.seed,
        device=device,
        balanced=spec.train.class_balance,
        shard=(here.rank, here.size),
        squares=squares,
    )
