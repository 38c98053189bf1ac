"""What the mutual-channel losses of TDSA-Loss cost, beside mask-and-pool modules and beside a whole training step.

    python benchmarks/tdsa_losses.py [--rounds 8] [--batch 4] [--threads 2] [--skip-step]

The modules below compute the same loss the straightforward way: a 0/1 mask expanded over the maps and multiplied, a
view, max pooling over channels, average pooling, softmax, max pooling again. Loss and gradient are checked against
fgvc's before anything is timed. All ways run in turn, round after round, with the allocator set alike; ratios are those
of the best rounds, and beside them stands the spread of all rounds' ratios.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgvc_cli.methods import build_method
from fgvc_cli.ops.channels import (
    channel_groups,
    channel_rows,
    class_diversity,
    class_scores,
    draw_channel_mask,
)
from fgvc_cli.spec.build import build_spec
from fgvc_cli.training.learner import StepModule

K = 200
LEVELS = {"high, 600 channels at 14×14": (600, 14), "middle, 1800 channels at 28×28": (1800, 28)}
FORMATS = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}
MU, LAMBDA = 1.5, 10.0


def keep_freed_memory() -> None:
    """The allocator gives nothing back between rounds: page faults would be half of what is measured."""
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for a large tensor
    libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


class MaskAndPool(nn.Module):
    """Mutual-channel loss of maps (B, C, h, w), a group of C/K channels a class, out of PyTorch's own modules."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.over_channels = nn.MaxPool2d((size, 1))
        self.everywhere = nn.AdaptiveAvgPool2d(1)
        self.softmax = nn.Softmax(dim=2)
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, maps: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Maps (B, C, h, w), labels (B,), mask (C,) → μ (L_dis - λ L_div)."""
        batch, channels, h, w = maps.shape
        groups = (batch, channels // self.size, self.size, h * w)
        masked = maps * mask.view(1, channels, 1, 1).expand_as(maps)
        strongest = self.over_channels(masked.reshape(groups)).view(batch, -1, h, w)
        discriminality = self.criterion(self.everywhere(strongest).flatten(1), labels)
        shares = self.softmax(maps.reshape(batch, channels, h * w))
        overlap = self.over_channels(shares.view(groups)).sum((2, 3))
        return MU * (discriminality - LAMBDA * overlap.mean() / self.size)


def grouped(maps: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """The same loss by fgvc's operations, as `Mc.losses` calls them."""
    groups, rows = channel_groups(maps.shape[1], K), channel_rows(maps)
    discriminality = F.cross_entropy(class_scores(rows, groups, mask), labels)
    return MU * (discriminality - LAMBDA * class_diversity(rows, groups, per_channel=True).mean())


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Case:
    """Maps after a ReLU, of which both ways take loss and gradient."""

    def __init__(self, channels: int, side: int, batch: int, layout: torch.memory_format) -> None:
        torch.manual_seed(0)
        before = torch.randn(batch, channels, side, side).contiguous(memory_format=layout)
        self.maps = before.relu().requires_grad_()
        self.labels = torch.arange(batch) % K
        self.mask = draw_channel_mask(channel_groups(channels, K))

    def run(self, loss: Loss) -> Tensor:
        """Forward and backward."""
        self.maps.grad = None
        value = loss(self.maps, self.labels, self.mask)
        value.backward()
        return value.detach()

    def check(self, ways: list[Loss]) -> None:
        """Both ways give one loss and one gradient below the ReLU, which lets none through where it gave 0."""
        results = []
        for way in ways:
            value = self.run(way)
            assert self.maps.grad is not None
            results.append((value, self.maps.grad * (self.maps.detach() > 0)))
        torch.testing.assert_close(results[0][0], results[1][0])
        torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-9)


def interleave(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; one round before warms up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if number:
                times[name].append(time.perf_counter() - started)
    return times


def told(ratios: list[float]) -> str:
    """Median and range of the rounds' ratios."""
    return f"median {statistics.median(ratios):.3g}, rounds {min(ratios):.3g} to {max(ratios):.3g}"


def against_modules(rounds: int, batch: int) -> None:
    """Print how many times faster the grouped operations are."""
    for layout, memory_format in FORMATS.items():
        for level, (channels, side) in LEVELS.items():
            case = Case(channels, side, batch, memory_format)
            modules = MaskAndPool(channels // K)
            case.check([modules, grouped])
            ways = {"modules": lambda c=case, m=modules: c.run(m), "grouped": lambda c=case: c.run(grouped)}
            times = interleave(ways, rounds)
            best = min(times["modules"]) / min(times["grouped"])
            each = [a / b for a, b in zip(times["modules"], times["grouped"], strict=True)]
            print(f"{level}, {layout}: {best:.2f}× as fast as modules ({told(each)})", flush=True)


def share_of_a_step(rounds: int, batch: int) -> None:
    """Print what part of a TDSA VGG-16-BN training step at 224 the losses of both levels take."""
    spec = build_spec(method="tdsa", dataset="cub")
    method, _ = build_method(spec, K)
    step = StepModule(method.to(memory_format=torch.channels_last).train())
    images = torch.randn(batch, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % K
    cases = [Case(channels, side, batch, torch.channels_last) for channels, side in LEVELS.values()]

    def whole() -> None:
        step(images, labels)["loss"].backward()
        step.zero_grad(set_to_none=True)

    times = interleave({"step": whole, "losses": lambda: [case.run(grouped) for case in cases]}, rounds)
    best = 100 * min(times["losses"]) / min(times["step"])
    each = [100 * a / b for a, b in zip(times["losses"], times["step"], strict=True)]
    print(f"both levels' losses: {best:.2f} % of a TDSA VGG-16-BN step at 224, without the optimizer ({told(each)})")


def main() -> None:
    """Read the options and print every ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--skip-step", action="store_true", help="leave the whole training step out")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    print(f"PyTorch {torch.__version__}, {options.threads} threads, batch {options.batch}, {options.rounds} rounds")
    against_modules(4 * options.rounds, options.batch)  # milliseconds each: a busy machine spoils some
    if not options.skip_step:
        share_of_a_step(options.rounds, options.batch)


if __name__ == "__main__":
    main()
