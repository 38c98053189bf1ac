"""What `--compile` saves of a training step on the CPU: one thread, compiled and plain steps in turns.

python -m benchmarks.compiled_step [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from fgvc_cli.data.types import Batch
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.spec.build import build_spec
from fgvc_cli.training.learner import Learner, random_batch

SIZE, BATCH, CLASSES, CPU = 224, 4, 200, torch.device("cpu")


def learner(*, compiled: bool) -> Learner:
    """The plain ResNet-50, in its first epoch."""
    flags = {"backbone.name": "resnet50", "backbone.weights": "none", "data.image_size": SIZE, "data.root": "."}
    flags |= {"train.device": "cpu", "train.threads": 1, "train.batch_size": BATCH, "train.compile": compiled}
    spec = build_spec(method="baseline", dataset="folder", flags=flags)
    prepare_device(spec.train)
    made = Learner.build(spec, CLASSES, CPU, steps_per_epoch=1, load_weights=False)
    made.begin_epoch(0)
    made.method.train()
    return made


def seconds(made: Learner, batch: Batch) -> float:
    """CPU time of a step, which other work on the machine disturbs least."""
    started = time.process_time()
    made.backward(batch)
    made.update()
    return time.process_time() - started


def main() -> None:
    """Print both times and the ratio of each round."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    both = learner(compiled=True), learner(compiled=False)
    batch = random_batch(BATCH, SIZE, CLASSES, CPU)
    pairs = [[seconds(made, batch) for made in both] for _ in range(rounds + 1)][1:]
    ratios = sorted(compiled / plain for compiled, plain in pairs)
    for name, times in zip(("compiled", "plain"), zip(*pairs, strict=True), strict=True):
        print(f"{name}: {min(times):.2f} s at best, {statistics.median(times):.2f} s in the middle")
    print(f"compiled / plain: {ratios[0]:.2f} to {ratios[-1]:.2f}, {statistics.median(ratios):.2f} in the middle")


if __name__ == "__main__":
    main()
