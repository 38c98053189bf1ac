"""How long `fgvc predict` takes for one image in a new process, beside the bare imports, in turns.

python -m benchmarks.start_up [ROUNDS]

The models have random weights: `tiny` at 128 pixels and EfficientNet-Lite0 (timm) at 224 pixels, 100 classes.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fgvc_cli.methods import build_method
from fgvc_cli.runs.checkpoint import save_model
from fgvc_cli.spec.build import build_spec

BARE = [sys.executable, "-c", "import torch, torchvision"]
NETWORKS = {"tiny": 128, "timm:tf_efficientnet_lite0": 224}


def model_file(folder: Path, backbone: str, side: int) -> Path:
    """A model as a run of 100 classes leaves it, with random weights."""
    flags = {"backbone.name": backbone, "backbone.weights": "none", "data.image_size": side, "data.root": "."}
    spec = build_spec(method="baseline", dataset="folder", flags={**flags, "train.device": "cpu"})
    method, _ = build_method(spec, 100, load_weights=False)
    file = folder / f"{backbone.replace(':', '-')}.safetensors"
    about = {"spec": spec.model_dump(mode="json"), "classes": [f"class {i}" for i in range(100)], "epoch": 1}
    save_model(file, method.state_dict(), about)
    return file


def measure(command: list[str]) -> tuple[float, float]:
    """Wall time and processor time of a command, in seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print medians, best times and ratios of both clocks."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels = np.random.RandomState(0).randint(0, 255, (375, 500, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "one.jpg")
        commands = {"import torch, torchvision": BARE}
        for backbone, side in NETWORKS.items():
            model = str(model_file(folder, backbone, side))
            predict = [sys.executable, "-m", "fgvc_cli", "predict", str(folder / "one.jpg"), "--run", model]
            commands[f"fgvc predict one.jpg, {backbone}"] = predict
        for command in commands.values():
            measure(command)  # compiled files and disk cache
        times = {what: [] for what in commands}
        for _ in range(rounds):
            for what, command in commands.items():
                times[what].append(measure(command))
    print(f"{rounds} rounds in turns, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f} at the end")
    bare = times["import torch, torchvision"]
    for what, found in times.items():
        cells = []
        for clock in (0, 1):
            seconds = [pair[clock] for pair in found]
            ratios = [pair[clock] / other[clock] for pair, other in zip(found, bare, strict=True)]
            cells.append(
                f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
                f"{statistics.median(ratios):.2f} × ({min(seconds) / min(pair[clock] for pair in bare):.2f} at best)"
            )
        print(f"{what}: wall {cells[0]}; processor {cells[1]}")


if __name__ == "__main__":
    main()
