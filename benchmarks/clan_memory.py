"""Memory of a forward and backward pass of 3-scale CLAN on VGG-16-BN, with the linear relation and with n×n.

    python -m benchmarks.clan_memory [--size 448] [--batch 4]

Each side runs in a process of its own, which tells how far its peak resident memory rises above what there was before
the pass; `saved` is what autograd keeps for the backward pass beside the weights, each storage counted once. The
relations alone start from embeddings of C_int = 256 channels of both middle maps.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.clan_relation import quadratic_relation
from fgvc_cli.backbones import build_backbone
from fgvc_cli.methods import clan
from fgvc_cli.methods.base import Method
from fgvc_cli.methods.baseline import Baseline
from fgvc_cli.ops.relations import dot_product_relation
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.methods.clan import ClanSpec

SIDES = {
    "relation-linear": "relations alone, linear",
    "relation-quadratic": "relations alone, n×n",
    "model-plain": "plain VGG-16-BN",
    "model-linear": "CLAN, linear relation",
    "model-quadratic": "CLAN, n×n relation",
}
RELATIONS = {"linear": dot_product_relation, "quadratic": quadratic_relation}
MIB = 2**20


def map_positions(size: int) -> list[int]:
    """n of conv4_3 and conv5_2."""
    return [(size // stride) ** 2 for stride in (8, 16)]


def model_loss(kind: str, size: int, batch: int) -> Callable[[], Tensor]:
    """The loss of the plain network, or of CLAN with a relation."""
    backbone = build_backbone("vgg16_bn")
    method: Method = Baseline(BaselineSpec(), backbone, 200, size)
    if kind != "plain":
        clan.dot_product_relation = RELATIONS[kind]
        method = clan.Clan(ClanSpec(scales=3), backbone, 200, size)
    images, labels = torch.randn(batch, 3, size, size), torch.zeros(batch, dtype=torch.int64)
    return lambda: torch.stack(list(method.losses(method(images), labels).values())).sum()


def relation_loss(kind: str, size: int, batch: int) -> Callable[[], Tensor]:
    """A sum over the results of the relations of both maps."""
    inputs = [[torch.randn(batch, 256, n, requires_grad=True) for _ in range(3)] for n in map_positions(size)]
    return lambda: torch.stack([RELATIONS[kind](*triple).sum() for triple in inputs]).sum()


def measure(side: str, size: int, batch: int) -> dict[str, float]:
    """Peak memory beyond what there was before the pass, and bytes saved for backward; MiB."""
    what, _, kind = side.partition("-")
    run = (model_loss if what == "model" else relation_loss)(kind, size, batch)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    storages: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        if not isinstance(value, torch.nn.Parameter):
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        loss = run()
    loss.backward()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak": peak - before, "saved": sum(storages.values()) / MIB}


def main() -> None:
    """Each side in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.size, options.batch)))
        return
    positions = map_positions(options.size)
    matrices = options.batch * sum(n * n for n in positions) * 4 / MIB
    print(f"B = {options.batch}, {options.size} pixels, n = {positions}: the n×n matrices alone are {matrices:.1f} MiB")
    for side, title in SIDES.items():
        command = [sys.executable, "-m", "benchmarks.clan_memory", *sys.argv[1:], "--side", side]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{title:24s} peak {found['peak']:7.1f} MiB, saved {found['saved']:7.1f} MiB")


if __name__ == "__main__":
    main()
