"""How methods begin from trained weights: losses, the trunk's gradient, and accuracy on a validation split.

python -m benchmarks.trained_start CUB_200_2011 [--methods clan,tdsa] [--steps 60] [--size 112] [--set FIELD=VALUE]

Fine-tunes EfficientNet-Lite0 (extra `weights`) on training images of CUB's first ten classes, a fifth of which is the
validation split: SGD 0.01 with 10 steps of warm-up and a cosine, 16 images a step, flips, seed 0, the methods' settings
for an image folder. The test split is not read.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path

import torch
from torch import Tensor

from fgvc_cli.backbones import resolved
from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.images.read import read_image
from fgvc_cli.data.loading.transforms import transform
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Method
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.training.optim import build_optimizer

CLASSES, BATCH, WARMUP = 10, 16, 10


def spec_of(method: str, root: Path, size: int, sets: list[str]) -> RunSpec:
    """The recipe, from lite0's weights."""
    flags = {"backbone.name": "timm:tf_efficientnet_lite0", "backbone.weights": "imagenet", "data.image_size": size}
    fixed = ["data.resize=null", "optim.lr=0.01", f"train.batch_size={BATCH}", f'data.root="{root}"']
    spec = build_spec(method=method, dataset="folder", flags=flags, sets=[*fixed, *sets])
    return resolved(spec)


def images_of(root: Path, spec: RunSpec) -> tuple[Tensor, Tensor]:
    """Normalised images of the first classes' training split, and their labels."""
    index = load_index(spec.data.model_copy(update={"dataset": "cub"}))
    chosen = [i for i, label in enumerate(index.train.labels) if label < CLASSES]
    random.Random(0).shuffle(chosen)
    files = [str(index.root / index.train.files[i]) for i in chosen]
    pixels = torch.stack([transform(read_image(file, spec.data.max_pixels), spec.data)[0] for file in files])
    mean, std = (torch.tensor(values)[:, None, None] for values in spec.data.normalisation)
    return (pixels / 255 - mean) / std, torch.from_numpy(index.train.labels[chosen])


def fine_tune(spec: RunSpec, images: Tensor, labels: Tensor, steps: int) -> Method:
    """Train for some steps; prints losses and the norm of the trunk's gradient ten times."""
    torch.manual_seed(0)
    method, _ = build_method(spec, CLASSES)
    optimizer = build_optimizer(method.train(), spec.optim, BATCH)
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(steps):
        method.on_epoch(step * spec.train.epochs // steps, spec.train.epochs)
        factor = min(1, (step + 1) / WARMUP) * (1 + math.cos(math.pi * step / steps)) / 2
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        batch = torch.randperm(len(images))[:BATCH]
        flipped = torch.rand(BATCH)[:, None, None, None] < 0.5
        shown = torch.where(flipped, images[batch].flip(3), images[batch])
        losses = method.losses(method(shown), labels[batch])
        optimizer.zero_grad()
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        found = [value.grad.norm() for value in method.backbone.parameters() if value.grad is not None]
        if step % max(1, steps // 10) == 0 or not total.isfinite():
            told = ", ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
            print(f"  step {step}: {told}; gradient of the trunk {torch.stack(found).norm():.2f}", flush=True)
        if not total.isfinite():
            break
        optimizer.step()
    return method


@torch.no_grad()
def accuracy(method: Method, images: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy in percent."""
    return 100 * (method.eval()(images).logits.argmax(1) == labels).float().mean().item()


def main() -> None:
    """Parse the command line and print one line a method after its losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of CUB_200_2011")
    parser.add_argument("--methods", default=",".join(METHOD_SPECS))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    chosen = parser.parse_args()
    for name in chosen.methods.split(","):
        spec = spec_of(name, chosen.root, chosen.size, chosen.set)
        images, labels = images_of(chosen.root, spec)
        kept = len(images) // 5  # the validation split
        method = fine_tune(spec, images[kept:], labels[kept:], chosen.steps)
        print(f"{name}: {accuracy(method, images[:kept], labels[:kept]):.1f} % of {kept} validation images", flush=True)


if __name__ == "__main__":
    main()
