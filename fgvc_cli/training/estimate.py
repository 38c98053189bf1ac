"""What a run needs, estimated before it starts: images, steps, parameters, memory, time. Nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fgvc_cli.backbones import Backbone, resolved
from fgvc_cli.backbones.recompute import Unit, in_a_row
from fgvc_cli.data.loading.cache import Wanted
from fgvc_cli.data.loading.cache_files import available_memory
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.machine.compiling import check_compiler
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Method
from fgvc_cli.methods.cost import Summary, summarize
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.optim import AdamW, OptimSpec, Sgd
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console
from fgvc_cli.training.learner import Learner, StepModule, random_batch
from fgvc_cli.training.session import open_training_index, training_loader

SECONDS = 10.0  # about how long measuring a step may take
_PROBE = 2  # images: BatchNorm needs two
_STEPS = 3


@dataclass(frozen=True)
class Memory:
    """Bytes of a training step by purpose. The allocator's overhead and kernels' scratch space come on top."""

    weights: int  # parameters and buffers
    average: int  # the moving average of both
    gradients: int
    optimizer: int
    activations: int  # of the whole batch, kept for the backward pass
    free: int | None  # on the device now; None: unknown

    @property
    def total(self) -> int:
        """The sum of all parts of the step."""
        return self.weights + self.average + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True)
class Time:
    """Seconds of a batch's forward and backward pass, and how that number was obtained."""

    batch: float
    basis: str


@dataclass(frozen=True)
class Estimate:
    """What `fgvc train --dry-run` shows."""

    images: dict[str, int]  # by split
    classes: tuple[str, ...]
    device: torch.device
    batch: int  # images, at most
    batches: int  # per epoch
    counts: Summary
    memory: Memory
    time: Time
    cache: int | None  # bytes of the cached images; None: no cache


def estimate(spec: RunSpec, out: Path, console: Console) -> Estimate:
    """Read the data, count the method's operations, time some steps on random pixels. `out` is not created.

    Raises:
        BadRequest: training itself would refuse the request.
    """
    run, spec = RunFolder.unused(out), resolved(spec)
    device = prepare_device(spec.train)
    if spec.train.compile:
        check_compiler(device)
    index = open_training_index(run, spec, console)
    batches = len(training_loader(index, spec, device))
    batch = min(spec.train.batch_size, len(index.train))
    counts = summarize(spec, len(index.classes))
    memory = estimate_memory(spec, len(index.classes), batch, device)
    taken = estimate_time(spec, len(index.classes), batch, device, counts.multiply_adds, memory)
    cache = None if spec.data.cache == "off" else Wanted.of(index, spec.data).bytes
    return Estimate(_images(index), index.classes, device, batch, batches, counts, memory, taken, cache)


def _images(index: DatasetIndex) -> dict[str, int]:
    splits = {"train": index.train, "val": index.val, "test": index.test}
    return {name: len(split) for name, split in splits.items() if split is not None}


def estimate_memory(spec: RunSpec, num_classes: int, batch: int, device: torch.device) -> Memory:
    """Memory of a step of `batch` images, counted on the meta device: nothing is allocated."""
    with torch.device("meta"):
        method, _ = build_method(spec, num_classes, load_weights=False)
    method.on_epoch(spec.train.epochs - 1, spec.train.epochs)  # the last stage uses all parts
    weights = sum(_bytes(tensor) for tensor in method.state_dict().values())
    trained = sum(_bytes(parameter) for parameter in method.parameters() if parameter.requires_grad)
    kept = saved_bytes(method, spec.data.side, num_classes) / _PROBE * batch
    if spec.train.gradient_checkpointing:
        kept += recomputed_bytes(method, spec.data.side, num_classes) / _PROBE * batch
    if spec.train.precision != "fp32":
        kept /= 2  # then nearly all values take two bytes, not four
    average = weights if spec.train.ema_decay else 0
    copies = _optimizer_copies(spec.optim)
    return Memory(weights, average, trained, copies * trained, round(kept), free_memory(device))


def saved_bytes(method: Method, image_size: int, num_classes: int) -> int:
    """Bytes that two images keep for the backward pass, without the weights. `method` is on the meta device."""
    batch = random_batch(_PROBE, image_size, num_classes, torch.device("meta"))
    return _kept(method, lambda: StepModule(method.train())(batch.images, batch.labels))


def recomputed_bytes(method: Method, image_size: int, num_classes: int) -> int:
    """Bytes that a backbone's largest unit needs while it is recomputed, for two images, on the meta device."""
    given: list[tuple[Unit, Any]] = []
    handles = [
        unit[0].register_forward_pre_hook(lambda _, args, unit=unit: given.append((unit, args[0])))
        for backbone in method.modules()
        if isinstance(backbone, Backbone)
        for unit in backbone.units()
    ]
    saved_bytes(method, image_size, num_classes)
    for handle in handles:
        handle.remove()
    return max((_kept(method, partial(in_a_row, unit, x)) for unit, x in given), default=0)


def _kept(method: Method, run: Callable[[], object]) -> int:
    """Bytes that the result of `run` keeps for its backward pass, without the method's own tensors."""
    own = {tensor.untyped_storage()._cdata for tensor in method.state_dict().values()}
    found: dict[int, torch.UntypedStorage] = {}  # kept alive, so that no other storage gets the same address

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            found[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        values = run()
    del values
    return sum(storage.nbytes() for storage in found.values())


def estimate_time(
    spec: RunSpec,
    num_classes: int,
    batch: int,
    device: torch.device,
    multiply_adds: int,
    memory: Memory,
    limit: float | None = None,
) -> Time:
    """Seconds of a step of `batch` images: measured if that is quick, else scaled up from fewer images.

    The forward and backward passes together cost about three forward passes (`multiply_adds`: of one image's).
    `limit`: about how many seconds measuring may take, without those in which the network is built; None: SECONDS.
    """
    if spec.embeds_once:
        return _features_time(spec, num_classes, batch, device)
    limit, rate = SECONDS if limit is None else limit, multiply_rate(device)
    guess = 3 * multiply_adds / rate
    if guess * _PROBE > limit / 2:
        return Time(guess * batch, "from its multiply-adds at the speed of a large matrix product: a lower bound")
    probe = _Probe(spec, num_classes, device)
    size = min(batch, _PROBE)
    first = probe.seconds(size, 1)
    image = (first if first > limit / 3 else probe.seconds(size, 1)) / size  # the first step warms up
    fits = memory.free is None or memory.total < 0.8 * memory.free
    if batch <= size or not fits or image * batch * (_STEPS + 1) > limit:
        return Time(image * batch, f"from a step of {size} random images, scaled")
    probe.seconds(batch, 1)
    return Time(probe.seconds(batch, _STEPS), f"from {_STEPS} steps on random images")


@torch.inference_mode()
def _features_time(spec: RunSpec, num_classes: int, batch: int, device: torch.device) -> Time:
    """Seconds in which the features of a batch are computed; classifying them takes next to nothing."""
    method, _ = build_method(spec, num_classes, load_weights=False)
    method = method.to(device).to(memory_format=torch.channels_last).eval()
    images = random_batch(_PROBE, spec.data.side, num_classes, device).images
    float(method.embed(images).sum())  # warms up
    started = time.perf_counter()
    float(method.embed(images).sum())
    return Time(
        (time.perf_counter() - started) / _PROBE * batch, f"from the features of {_PROBE} random images, scaled"
    )


class _Probe:
    """Real training steps of the run's method on random pixels."""

    def __init__(self, spec: RunSpec, num_classes: int, device: torch.device) -> None:
        train = spec.train.model_copy(update={"compile": False})  # compiling takes longer than all steps measured here
        spec = spec.model_copy(update={"train": train})
        self.learner = Learner.build(spec, num_classes, device, steps_per_epoch=1, load_weights=False)
        self.learner.begin_epoch(spec.train.epochs - 1)
        self.learner.method.train()

    def seconds(self, batch: int, steps: int) -> float:
        """Mean seconds of `steps` steps. A batch of one is timed with two images, since BatchNorm needs two."""
        learner, size = self.learner, max(batch, _PROBE)
        ready = random_batch(size, learner.spec.data.side, learner.num_classes, learner.device)
        started = time.perf_counter()
        for _ in range(steps):
            values = learner.backward(ready)
            learner.update()
        values["loss"].detach().cpu()  # waits for the device
        return (time.perf_counter() - started) / steps * batch / size


def multiply_rate(device: torch.device) -> float:
    """Multiply-adds per second of a large matrix product in fp32."""
    side = 512 if device.type == "cpu" else 4096
    factor = torch.randn(side, side, device=device)
    float((factor @ factor).sum())
    started = time.perf_counter()
    float((factor @ factor).sum())
    return side**3 / (time.perf_counter() - started)


def free_memory(device: torch.device) -> int | None:
    """Free bytes on the device now; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_memory() if device.type == "cpu" else None


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _optimizer_copies(spec: OptimSpec) -> int:
    """How many tensors of its size the optimizer keeps for each parameter."""
    match spec.optimizer:
        case AdamW():
            return 2
        case Sgd(momentum=momentum):
            return int(momentum > 0)
