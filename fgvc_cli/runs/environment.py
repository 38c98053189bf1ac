"""The hardware and software of a run, as recorded in its folder."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from fgvc_cli import __version__

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "safetensors", "opencv-python", "pillow")


def describe(device: torch.device) -> dict[str, Any]:
    """Versions, processor, device and threads, as plain JSON values."""
    return {
        "fgvc": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "command": sys.argv[1:],
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
