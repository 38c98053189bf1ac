"""What fgvc does by itself on a CPU against PyTorch as it comes: ResNet-50 at 448, inference and training.

    python -m benchmarks.stock_cpu [--rounds 8] [--batch 4] [--size 448] [--precision bf16]

Each side is a process of its own, since the allocator's settings are a process': "stock" is torchvision's network in
eager mode, contiguous, fp32, glibc and libgomp as they are; "fgvc" is what `fgvc eval` and `fgvc train` run, without
--compile; with `--precision bf16` there is a third side. They take turns; ratios are those of the best rounds, beside
the spread of all rounds' ratios. Both sides have the same weights, and their logits are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from fgvc_cli.data.types import Batch
from fgvc_cli.inference.folding import fold_batch_norm
from fgvc_cli.machine.device import autocast, prepare_device
from fgvc_cli.spec.build import build_spec
from fgvc_cli.training.learner import Learner

CLASSES = 200
LIBGOMPS_OWN = {"GOMP_SPINCOUNT": "300000"}  # else the stock side would wait as fgvc does
WORK = ("inference", "training")


@dataclass(frozen=True)
class Setting:
    """What every side computes."""

    batch: int
    size: int


def network() -> nn.Module:
    """ResNet-50, the same in every process, as well-conditioned as a trained one: a block adds little to what it gets,
    and statistics are those of (noise) images. Fresh from its initialisation it magnifies any rounding 400-fold."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50(num_classes=CLASSES)
    for layer in model.modules():
        if isinstance(layer, Bottleneck):
            nn.init.constant_(layer.bn3.weight, 0.2)
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # a plain mean over the batches below
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(4, 3, 128, 128))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.1
    return model


def batch_of(setting: Setting) -> tuple[Tensor, Tensor]:
    """Noise, the same in every process."""
    dice = torch.Generator().manual_seed(1)
    return torch.randn(setting.batch, 3, setting.size, setting.size, generator=dice), torch.arange(setting.batch)


def stock(setting: Setting) -> dict[str, Callable[[], Tensor]]:
    """PyTorch as it comes."""
    images, labels = batch_of(setting)
    evaluated, trained = network().eval(), network().train()
    optimizer = torch.optim.SGD(trained.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)

    def inference() -> Tensor:
        with torch.no_grad():
            return evaluated(images)

    def training() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(trained(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return {"inference": inference, "training": training}


def fgvc(setting: Setting, precision: str) -> dict[str, Callable[[], Tensor]]:
    """What fgvc does with no setting but the precision."""
    images, labels = batch_of(setting)
    flags = {"backbone.name": "resnet50", "backbone.weights": "none", "train.device": "cpu", "optim.lr": 1e-4}
    flags |= {"train.precision": precision, "data.image_size": setting.size}
    spec = build_spec(method="baseline", dataset="cub", flags=flags)
    device = prepare_device(spec.train)
    learners = [Learner.build(spec, CLASSES, device, steps_per_epoch=1, load_weights=False) for _ in WORK]
    state = network().state_dict()
    head = {f"classifier.{name}": state.pop(f"fc.{name}") for name in ("weight", "bias")}
    for learner in learners:
        learner.method.load_state_dict({f"backbone.trunk.{name}": value for name, value in state.items()} | head)
    evaluated, trained = learners[0].method.eval(), learners[1]
    fold_batch_norm(evaluated)
    trained.begin_epoch(0)
    trained.method.train()
    number = torch.arange(setting.batch)
    boxes = torch.eye(2, 3).expand(setting.batch, 2, 3)
    batch = Batch(images.to(memory_format=torch.channels_last), labels, number, boxes)

    def inference() -> Tensor:
        with torch.inference_mode(), autocast(device, precision):
            logits: Tensor = evaluated(batch.images).logits
            return logits

    def training() -> Tensor:
        loss = trained.backward(batch)["loss"]
        trained.update()
        return loss.detach()

    return {"inference": inference, "training": training}


def serve(side: str, setting: Setting) -> None:
    """Do what each line on stdin asks for; answer with seconds and the result."""
    work = stock(setting) if side == "stock" else fgvc(setting, side.removeprefix("fgvc "))
    for line in sys.stdin:
        started = time.perf_counter()
        result = work[line.strip()]()
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "result": result.float().tolist()}), flush=True)


class Side:
    """A process that does one side's work."""

    def __init__(self, name: str, setting: Setting) -> None:
        own = [sys.executable, "-m", "benchmarks.stock_cpu", "--side", name]
        own += ["--batch", str(setting.batch), "--size", str(setting.size)]
        variables = os.environ | (LIBGOMPS_OWN if name == "stock" else {})
        self.process = subprocess.Popen(own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)

    def ask(self, work: str) -> dict[str, Any]:
        """Seconds and result of one pass or step."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(work + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


def measure(sides: dict[str, Side], work: str, rounds: int) -> None:
    """Print each side's times of one kind of work, beside the first one's."""
    first = {name: side.ask(work)["result"] for name, side in sides.items()}  # warms up; the same weights still
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            times[name].append(side.ask(work)["seconds"])
    base = times["stock"]
    print(f"{work}:")
    for name, found in times.items():
        ratios = [there / here for there, here in zip(base, found, strict=True)]
        expected, result = torch.tensor(first["stock"]), torch.tensor(first[name])
        off = float((result - expected).abs().max() / expected.abs().max())
        print(
            f"  {name:10s} best {1e3 * min(found):7.0f} ms, median {1e3 * statistics.median(found):7.0f};  "
            f"{min(base) / min(found):.2f}x ({min(ratios):.2f} to {max(ratios):.2f});  "
            f"largest difference of the result {off:.1e} of its largest value",
            flush=True,
        )


def main() -> None:
    """Measure inference, then training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    given = parser.parse_args()
    setting = Setting(given.batch, given.size)
    if given.side:
        serve(given.side, setting)
        return
    threads = torch.get_num_threads()
    print(f"ResNet-50 at {setting.size}, {setting.batch} images, {threads} threads, PyTorch {torch.__version__}")
    names = ("stock", "fgvc fp32", *(("fgvc bf16",) if given.precision == "bf16" else ()))
    for work in WORK:
        sides = {name: Side(name, setting) for name in names}
        measure(sides, work, given.rounds)
        for side in sides.values():
            side.process.kill()


if __name__ == "__main__":
    main()
