"""Draw the pictures of the docs of what models look at, from models trained on the demo.

    python assets/evidence.py

What is missing under runs/ is trained first, from scratch: up to half an hour a method on two cores. The pictures are
written beside this file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

RUNS = Path("runs")
HERE = Path(__file__).parent
SCRATCH = "--set backbone.plain_epochs=0 "
TRAINED = {  # method: how its run differs from its preset
    "apcnn": SCRATCH + "--epochs 22 --val-fraction 0.2",
    "clan": SCRATCH + "--epochs 40 --set method.attention=sigmoid",
    "tdsa": "",
    "reaps": "",
    "scapnet": "",
    "probe": "--backbone timm:tf_efficientnet_lite0 --weights imagenet --image-size 224",
}
PICTURES = {  # file: method, kind, what else is asked for
    "viz_rois.png": ("apcnn", "rois", "--only right --sample 3"),
    "viz_channels.png": ("tdsa", "channels", "--only right --sample 1"),
    "viz_versus.png": ("clan", "versus", "--only right --sample 2"),
    "viz_sequence.png": ("reaps", "sequence", "--only right --sample 2"),
    "viz_parts.png": ("scapnet", "parts", "--only right --sample 2"),
    "viz_probe.png": ("probe", "cam", "--only right --sample 2"),
}


def fgvc(*arguments: str) -> None:
    """One command."""
    subprocess.run([sys.executable, "-m", "fgvc_cli", *arguments], check=True)


def trained(method: str) -> Path:
    """The run of a method on the demo, made if need be."""
    run = RUNS / f"{method}-demo"
    if not (run / "model.safetensors").exists():
        fgvc("train", "--method", method, "--dataset", "demo", "--out", str(run), *TRAINED[method].split())
    return run


def main() -> None:
    """Each picture, small enough for a page."""
    for name, (method, kind, more) in PICTURES.items():
        run = trained(method)
        with tempfile.TemporaryDirectory() as folder:
            where = ("--run", str(run), "--out", folder, "--gallery", "--dpi", "84")
            fgvc("viz", kind, "--dataset", "demo", *where, *more.split())
            with Image.open(Path(folder) / "gallery-001.png") as picture:
                picture.convert("RGB").save(HERE / name, optimize=True)


if __name__ == "__main__":
    main()
