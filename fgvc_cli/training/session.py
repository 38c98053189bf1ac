"""The whole state of a training run in memory, built from its spec, saved to and restored from checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fgvc_cli.data.loading.cache import Cache, open_cache
from fgvc_cli.data.loading.loader import Loader, make_loader
from fgvc_cli.data.loading.transforms import mix
from fgvc_cli.data.splits import split_record
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import expanded, read_text, write_json, write_text
from fgvc_cli.inference.dataset import evaluation_loader, open_index
from fgvc_cli.inference.features.batches import Batches
from fgvc_cli.machine.compiling import check_compiler
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.machine.distributed import gathered, on_main, total, world
from fgvc_cli.machine.finite import check_tensors, check_values
from fgvc_cli.methods.sizes import check_image_size
from fgvc_cli.progress import Reporter, progress_of
from fgvc_cli.runs.checkpoint import load_checkpoint, random_state, restore_random_state, save_checkpoint
from fgvc_cli.runs.environment import describe
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console
from fgvc_cli.training.features.embedding import with_embeddings
from fgvc_cli.training.features.start import fit_classifiers
from fgvc_cli.training.learner import Learner
from fgvc_cli.training.levels import level_losses
from fgvc_cli.training.saved import SavedState


@dataclass
class Averages:
    """Means of an epoch's losses over its images, summed on the device and read once per logging interval."""

    totals: dict[str, float] = field(default_factory=dict)
    pending: dict[str, Tensor] = field(default_factory=dict)
    images: int = 0

    @classmethod
    def of(cls, saved: list[dict[str, Any]], rank: int, ranks: int, device: torch.device) -> Averages:
        """The averages of process `rank`, from what each process saved; if their number changed, rank 0 gets all."""
        own = cls(dict(saved[0]["totals"]))
        parts = [saved[rank]] if len(saved) == ranks else saved if rank == 0 else []
        for part in parts:
            for name, value in part["pending"].items():
                value = value.to(device)
                own.pending[name] = own.pending[name] + value if name in own.pending else value
            own.images += part["images"]
        return own

    def add(self, values: dict[str, Tensor], images: int) -> None:
        """Add a batch's values without reading them from the device."""
        for name, value in values.items():
            weighted = value.detach().float() * images
            self.pending[name] = self.pending[name] + weighted if name in self.pending else weighted
        self.images += images

    def flush(self) -> dict[str, float]:
        """Read pending values from the device. Returns the means so far. FgvcError if one is not finite.

        The means are over the images of all processes: each process must call this.
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
        """FgvcError if a pending loss is not finite. Nothing is flushed, since saving must not change any rounding."""
        if self.pending:
            read = total(torch.stack(list(self.pending.values()))).tolist()
            check_values(dict(zip(self.pending, read, strict=True)))

    def state(self) -> dict[str, Any]:
        """The values as they are, for a checkpoint."""
        return {"totals": self.totals, "pending": self.pending, "images": self.images}


@dataclass
class Position:
    """How far training has come: the next batch is number `batch` of `epoch`; `step` optimizer steps are done."""

    epoch: int = 0
    batch: int = 0
    step: int = 0


@dataclass
class Session:
    """A run in memory."""

    run: RunFolder
    spec: RunSpec
    index: DatasetIndex
    learner: Learner
    loader: Batches
    val_loader: Batches | None
    position: Position = field(default_factory=Position)
    averages: Averages = field(default_factory=Averages)
    best: float | None = None  # highest val_top1
    stale: int = 0  # epochs since the best one
    notes: tuple[str, ...] = ()

    @classmethod
    def build(
        cls, run: RunFolder, spec: RunSpec, console: Console, *, load_weights: bool, plain: RunFolder | None = None
    ) -> Session:
        """Read the data, build the method and its optimizer. Seeds the default random generators.

        BadRequest, before anything is written, if the method does not run at the spec's image size.

        `plain`: the run of the plain network whose weights to start from, instead of the spec's weights.
        """
        device = prepare_device(spec.train)
        if spec.train.compile:
            check_compiler(device)
        index = open_training_index(run, spec, console)
        if load_weights and plain is None:  # a run that has begun has this behind it
            check_image_size(spec, len(index.classes))
        cache = open_cache(index, spec.data, device, progress_of(console))
        loader = training_loader(index, spec, device, cache)
        val = evaluation_loader(index, index.val, spec, device, cache=cache) if index.val else None
        steps, classes = steps_per_epoch(loader, spec), len(index.classes)
        start = spec if plain is None else _from_plain(spec, plain)
        learner = Learner.build(
            start, classes, device, steps_per_epoch=steps, load_weights=load_weights, classes=index.classes
        )
        learner.levels = level_losses(index.taxonomy, spec.regularise.level_weights, device)
        notes = learner.notes + loader.notes
        begins = load_weights and plain is None
        batches, val_batches = with_embeddings(learner, index, (loader, val), Reporter(console), start=begins)
        if begins and spec.backbone.probe_first and not spec.method.behind:
            alone = partial(evaluation_loader, index, spec=spec, device=device, shared=False, cache=cache)
            asked = alone(index.val) if index.val else None
            on_main(lambda: fit_classifiers(learner, loader, alone(index.train), asked, Reporter(console)))
        if spec.optim.lr_images is not None:
            notes += (f"learning rate {spec.optim.rate(spec.train.batch_size):g}, scaled from {spec.optim.lr:g}",)
        return cls(run, spec, index, learner, batches, val_batches, notes=notes)

    def rate(self, epoch: int) -> float:
        """The learning rate at the start of an epoch, as the scheduler applies it."""
        steps = steps_per_epoch(self.loader, self.spec)
        factor = float(self.learner.scheduler.lr_lambdas[0](epoch * steps))
        return self.spec.optim.rate(self.spec.train.batch_size) * factor

    @property
    def finished(self) -> bool:
        """Whether training is over: every epoch is done, or it was stopped early."""
        return self.position.epoch >= self.spec.train.epochs or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        """Whether validation has not improved for as many epochs as the spec's patience."""
        return self.spec.train.patience is not None and self.stale >= self.spec.train.patience

    def check(self) -> None:
        """FgvcError if a loss, a weight or the optimizer's state is not finite. Waits for the device."""
        self.averages.check()
        check_tensors(self.learner.tensors())

    def record(self) -> None:
        """Write what a new run keeps beside its spec: classes, splits that fgvc drew, environment."""
        write_record(self.run, self.spec.data, self.index, self.learner.device)

    def save(self) -> None:
        """Write a checkpoint of the current state. FgvcError if a value is not finite; then nothing is written."""
        self.check()
        ranks = gathered({"random": random_state(self.learner.device), "averages": self.averages.state()})
        on_main(lambda: self._write(ranks))

    def _write(self, ranks: list[dict[str, Any]]) -> None:
        state = {
            "position": vars(self.position),
            **self.learner.state(),
            "ranks": ranks,
            "best": self.best,
            "stale": self.stale,
            "threads": torch.get_num_threads(),
        }
        save_checkpoint(self.run, self.position.step, state, self.spec.train.keep_checkpoints)

    def restore(self, step: int) -> None:
        """Load the checkpoint of `step`. On the CPU this is bit-exact: the number of threads is restored as well.

        FgvcError if it cannot be read, is damaged, or is not of a run with this spec and these images.
        """
        state = load_checkpoint(self.run, step, SavedState)
        try:
            self._apply(state)
        except torch.OutOfMemoryError:
            raise
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            reason = str(error).splitlines()[-1].strip()
            place = self.run.checkpoint(step)
            raise FgvcError(f"checkpoint {place} does not fit the run's spec and images ({reason})") from None

    def _apply(self, state: dict[str, Any]) -> None:
        if self.learner.device.type == "cpu":
            torch.set_num_threads(state["threads"])
        self.position = Position(**state["position"])
        self.learner.restore(state)
        ranks, here = state["ranks"], world()
        self.averages = Averages.of([rank["averages"] for rank in ranks], here.rank, here.size, self.learner.device)
        self.best, self.stale = state["best"], state["stale"]
        if here.rank < len(ranks):
            restore_random_state(ranks[here.rank]["random"], self.learner.device)
        else:  # there were fewer processes: a random state that no other has
            torch.manual_seed(mix(self.spec.train.seed, here.rank, self.position.step))
        if self.position.batch >= len(self.loader):
            raise ValueError(f"position.batch: the epoch has {len(self.loader)} batches")


def write_record(run: RunFolder, data: DataSpec, index: DatasetIndex, device: torch.device) -> None:
    """Write what a new run keeps beside its spec: classes, their tree, splits that fgvc drew, fixes, environment."""
    if data.label_fixes is not None and not run.label_fixes_file.exists():
        write_text(run.label_fixes_file, read_text(expanded(data.label_fixes), errors="surrogateescape", newline=""))
    if index.drawn:
        write_json(run.splits_file, split_record(index))
    if index.taxonomy is not None:
        write_json(run.taxonomy_file, index.taxonomy.record())
    write_json(run.path / "classes.json", list(index.classes))
    write_json(run.path / "environment.json", describe(device))


def _from_plain(spec: RunSpec, plain: RunFolder) -> RunSpec:
    return spec.model_copy(update={"backbone": spec.backbone.model_copy(update={"weights": str(plain.path)})})


def steps_per_epoch(loader: Batches, spec: RunSpec) -> int:
    """Optimizer steps per epoch; the last may accumulate fewer batches than the others."""
    return math.ceil(len(loader) / spec.optim.accumulate)


def open_training_index(run: RunFolder, spec: RunSpec, console: Console) -> DatasetIndex:
    """The run's dataset. BadRequest if the spec needs a validation split and the dataset has none."""
    index = open_index(run, spec.data, console)
    if spec.train.patience is not None and index.val is None:
        raise BadRequest("train.patience: there is no validation split; add --val-fraction 0.1, or leave patience out")
    return index


def training_loader(index: DatasetIndex, spec: RunSpec, device: torch.device, cache: Cache | None = None) -> Loader:
    """The training images of each epoch, in random order by the run's seed, divided among the run's processes.

    They are read from the `cache`, if given.
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
        cache=cache,
    )
