"""CLAN's dot-product relation, θ(φᵀk)/n, beside the one that builds the n×n matrix, side by side in one run.

    python benchmarks/clan_relation.py [--rounds 10] [--batch 2] [--channels 256]

Rounds are interleaved, the order turns from round to round, the best of each side counts; results and gradients are
checked equal first. The spread is that of the ratio over the single rounds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from fgvc_cli.ops.relations import dot_product_relation

Relation = Callable[[Tensor, Tensor, Tensor], Tensor]
# By default glibc gives large blocks back at every free and faults them in anew: most of the time, on both sides.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}


def quadratic_relation(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Eq. 7 as it stands: all n×n relations, divided by n, times the values; shapes as `dot_product_relation`."""
    relations = query.transpose(1, 2) @ key / key.shape[2]  # (B, n, n)
    return (relations @ value.transpose(1, 2)).transpose(1, 2)


def step(relation: Relation, inputs: list[Tensor], backward: bool) -> list[Tensor]:
    """The result, and with `backward` the gradients of its sum of squares."""
    y = relation(*inputs)
    return [y, *torch.autograd.grad(y.square().sum(), inputs)] if backward else [y]


def seconds(relation: Relation, inputs: list[Tensor], backward: bool, calls: int) -> float:
    """Time of one step, the mean of `calls` in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        step(relation, inputs, backward)
    return (time.perf_counter() - start) / calls


def compare(positions: int, batch: int, channels: int, rounds: int, backward: bool) -> None:
    """Print the ratio for maps of n positions."""
    inputs = [torch.randn(batch, channels, positions, requires_grad=backward) for _ in range(3)]
    for fast, slow in zip(
        step(dot_product_relation, inputs, backward), step(quadratic_relation, inputs, backward), strict=True
    ):
        error = ((fast - slow).abs().max() / slow.abs().max()).item()
        assert error < 1e-5, error
    sides: dict[Relation, list[float]] = {dot_product_relation: [], quadratic_relation: []}
    calls = max(1, 3136 // positions)
    for number in range(rounds):
        for relation in list(sides)[:: 1 if number % 2 else -1]:
            sides[relation].append(seconds(relation, inputs, backward, calls))
    fast, slow = sides[dot_product_relation], sides[quadratic_relation]
    single = sorted(b / a for a, b in zip(fast, slow, strict=True))
    what = "forward and backward" if backward else "forward"
    print(
        f"n = {positions:4d}, {what:20s}: {min(slow) / min(fast):5.1f} times as fast "
        f"(best {1e3 * min(fast):.2f} and {1e3 * min(slow):.2f} ms; single rounds {single[0]:.1f} to {single[-1]:.1f})"
    )


def main() -> None:
    """Both map sizes of VGG-16 at 448, forward alone and with backward."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--channels", type=int, default=256, help="C_int")
    options = parser.parse_args()
    if not ALLOCATOR.items() <= os.environ.items():  # read when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    torch.manual_seed(0)
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, B = {options.batch}, fp32")
    for positions in (784, 3136):
        for backward in (False, True):
            compare(positions, options.batch, options.channels, max(8, options.rounds), backward)


if __name__ == "__main__":
    main()
