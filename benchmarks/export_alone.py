"""An exported AP-CNN answers real photographs in an environment without PyTorch as its run does.

    python -m benchmarks.export_alone PHOTOS [--run RUN]

Makes a virtual environment that has onnxruntime, numpy, Pillow and what the command line needs, and this package
without its dependencies: PyTorch is not in it. There `fgvc predict --model x.onnx` answers 64 photographs below PHOTOS;
here the run does. Prints the largest difference of the probabilities, equal answers, and the time of a cold
`fgvc predict` of one photograph. Without RUN an AP-CNN on EfficientNet-Lite0 is made that was never trained.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import torch

from fgvc_cli.backbones import resolved
from fgvc_cli.export.export import ExportRequest, export_run
from fgvc_cli.inference.pictures import find_pictures
from fgvc_cli.methods import build_method
from fgvc_cli.runs.checkpoint import save_model
from fgvc_cli.spec.build import build_spec
from fgvc_cli.terminal import Console

PACKAGES = ("typer", "rich", "pydantic", "numpy", "pillow", "filelock", "onnxruntime")
ROOT = Path(__file__).parents[1]
LIMIT = 1e-4


def untrained_run(file: Path) -> None:
    """An AP-CNN for 12 classes on EfficientNet-Lite0, as a run leaves it."""
    torch.manual_seed(0)
    flags = {"data.root": "/", "data.image_size": 224, "backbone.name": "timm:tf_efficientnet_lite0"}
    spec = resolved(build_spec(method="apcnn", dataset="folder", flags=flags | {"backbone.weights": "imagenet"}))
    method, _ = build_method(spec, 12)
    classes = [f"class {number}" for number in range(12)]
    save_model(file, method.state_dict(), {"spec": spec.model_dump(mode="json"), "classes": classes, "epoch": 1})


def bare_environment(folder: Path) -> Path:
    """Its python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(ROOT)], check=True)
    there = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    if there.returncode == 0:
        raise SystemExit("PyTorch is in the environment that should have none")
    return python


def largest(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> tuple[float, int]:
    """Largest difference of probabilities, and the number of equal answers."""
    worst, equal = 0.0, 0
    for a, b in zip(one, other, strict=True):
        shares = [{guess["class"]: guess["probability"] for guess in row["top"]} for row in (a, b)]
        worst = max(worst, *(abs(shares[0][name] - shares[1][name]) for name in shares[0]))
        equal += a["answer"] == b["answer"]
    return worst, equal


def main() -> None:
    """Compare, and fail above LIMIT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--run", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = find_pictures([str(asked.photos.absolute())])
        photos = [str(picture.file) for picture in found[:: max(1, len(found) // 64)]][:64]
        model = asked.run or folder / "model.safetensors"
        if asked.run is None:
            untrained_run(model)
        request = ExportRequest(dynamic_batch=True, evidence=True, out=folder / "x.onnx", images=tuple(photos))
        export_run(model, request, Console(stderr=True))
        python = bare_environment(folder / "bare")
        alone = [str(python), "-m", "fgvc_cli"]
        there = answers(alone, folder / "x.onnx", photos, folder)
        here = answers([sys.executable, "-m", "fgvc_cli"], model, photos, ROOT)
        worst, equal = largest(here, there)
        started = time.perf_counter()
        subprocess.run([*alone, "predict", photos[0], "--model", "x.onnx"], cwd=folder, capture_output=True, check=True)
        cold = time.perf_counter() - started
    print(f"{len(photos)} photographs without PyTorch: largest difference {worst:.1e}, {equal} equal answers")
    print(f"a cold `fgvc predict --model x.onnx` of one photograph: {cold:.2f} s")
    if worst > LIMIT or equal < len(photos):
        raise SystemExit("the exported file answers otherwise than the run")


def answers(command: list[str], model: Path, photos: list[str], cwd: Path) -> list[dict[str, Any]]:
    """What `fgvc predict` says of the photographs."""
    words = [*command, "predict", "-", "--model", str(model), "--format", "json", "--top", "1000", "--boxes"]
    done = subprocess.run(words, input="\n".join(photos), capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    main()
