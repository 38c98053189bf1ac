"""Four networks at full size as ONNX: how far from the run, how large, how fast beside the folded eager model.

    OMP_NUM_THREADS=2 python -m benchmarks.exported_files PHOTOS [--rounds 8] [--networks resnet50 ...]

PHOTOS holds at least 64 photographs, such as CUB_200_2011/images. Each network is the baseline for 200 classes at 224
pixels, with the weights of ImageNet where the installed packages have them, else random ones whose statistics are those
of noise. It is exported by the command's own functions, which send 64 photographs through run and file; then batches of
1 and 16 take turns. Of each the best round counts; ratios are of the time waited and of the processor time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from fgvc_cli.backbones import resolved
from fgvc_cli.backbones.timm.packaged_weights import packaged_state
from fgvc_cli.bench.cases import cases_of_export
from fgvc_cli.bench.rounds import in_turns
from fgvc_cli.bench.ways import build_way
from fgvc_cli.export.export import ExportRequest, export_run
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.methods import build_method
from fgvc_cli.runs.checkpoint import save_model
from fgvc_cli.spec.build import build_spec
from fgvc_cli.terminal import Console

CLASSES, SIDE = 200, 224
NETWORKS = ("timm:tf_efficientnet_lite0", "resnet50", "vgg16_bn", "timm:vit_small_patch16_224")


def run_of(network: str, file: Path) -> str:
    """Write a model as a run leaves it; returns where its weights are from."""
    torch.manual_seed(0)
    there = packaged_state(network.removeprefix("timm:")) is not None
    weights = "imagenet" if there else "none"
    flags = {"data.root": "/", "data.image_size": SIDE, "backbone.name": network, "backbone.weights": weights}
    spec = resolved(build_spec(method="baseline", dataset="folder", flags=flags))
    method, _ = build_method(spec, CLASSES)
    if weights == "none":
        settle(method)
    classes = [f"class {number}" for number in range(CLASSES)]
    save_model(file, method.state_dict(), {"spec": spec.model_dump(mode="json"), "classes": classes, "epoch": 1})
    return weights


@torch.no_grad()
def settle(method: nn.Module) -> None:
    """Statistics of BatchNorm from noise: with those of a fresh network every rounding grows 400-fold."""
    for layer in method.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    method.train()
    for _ in range(2):
        method(torch.randn(8, 3, SIDE, SIDE))


def turns(file: Path, batch: int, rounds: int) -> tuple[Spent, Spent]:
    """What the eager model and the file spend on an image, in turns of some steps."""
    cases = cases_of_export(file, batch)
    device = prepare_device(cases[0].spec.train)
    ways = {case.name: build_way(case, "infer", device) for case in cases}
    steps = max(3, 16 // batch)
    found = in_turns({name: partial(spent, way.step, steps, batch) for name, way in ways.items()}, rounds, _quiet)
    eager, engine = (Spent(*(min(times) for times in zip(*one, strict=True))) for one in found.values())
    return eager, engine


class Spent(NamedTuple):
    """Milliseconds an image."""

    waited: float
    computed: float  # processor time, which other programs disturb least


def spent(step: Callable[[], object], steps: int, batch: int) -> Spent:
    """The median of some steps."""
    rows = []
    for _ in range(steps):
        before = time.perf_counter(), time.process_time()
        step()
        rows.append((time.perf_counter() - before[0], time.process_time() - before[1]))
    return Spent(*(1000 * statistics.median(column) / batch for column in zip(*rows, strict=True)))


def _quiet(what: str, done: int, total: int) -> None:
    """No progress."""


def line(network: str, photos: Path, rounds: int, folder: Path) -> str:
    """One row of the table."""
    model, out = folder / "model.safetensors", folder / "model.onnx"
    weights = run_of(network, model)
    request = ExportRequest(dynamic_batch=True, out=out, images=(str(photos),), check=64)
    written = export_run(model, request, Console(stderr=True))
    cells = [network, weights, f"{written.parity.largest:.1e}", f"{100 * written.parity.equal:.0f} %"]
    cells.append(f"{written.size / 2**20:.0f} MiB")
    for batch in (1, 16):
        eager, engine = turns(out, batch, rounds)
        ratios = [one / other for one, other in zip(eager, engine, strict=True)]
        cells.append(f"{eager.computed:.1f} → {engine.computed:.1f}: {ratios[1]:.2f} ({ratios[0]:.2f})")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table, line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    asked = parser.parse_args()
    print(f"{torch.get_num_threads()} threads; processor ms an image, eager → onnxruntime: ratio (of time waited)")
    print("| network | weights | difference | equal | file | batches of 1 | batches of 16 |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for network in asked.networks:
        with tempfile.TemporaryDirectory() as folder:
            print(line(network, asked.photos, asked.rounds, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
