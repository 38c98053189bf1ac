"""Load a trained model from its file, alone or with the data it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.inference.folding import fold_batch_norm
from fgvc_cli.inference.request import EvalRequest, with_request
from fgvc_cli.machine.compiling import check_compiler
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Method
from fgvc_cli.runs.checkpoint import load_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.schema import checked_spec
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    from fgvc_cli.inference.dataset import Images


@dataclass(frozen=True)
class Trained:
    """A model loaded from a file: all that prediction needs."""

    method: Method
    spec: RunSpec
    classes: tuple[str, ...]
    epoch: int  # epochs it was trained for
    changed: bool = False  # classes were enrolled or removed after training: they are not those of the run's data
    temperature: float = 1.0  # softmax(final logits / temperature) is the calibrated prediction


def load_trained(file: Path) -> Trained:
    """Build the method that `file` was saved from and load its weights. Nothing is downloaded."""
    weights, about = load_model(file)
    spec = checked_spec(about["spec"], file)
    classes = tuple(about["classes"])
    method, _ = build_method(spec, len(classes), load_weights=False)
    try:
        method.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise FgvcError(f"cannot read {file}: its weights are not those of its spec ({reason})") from None
    method.on_epoch(max(about["epoch"] - 1, 0), spec.train.epochs)
    changed = bool(about.get("enrolled") or about.get("removed"))
    return Trained(method.eval(), spec, classes, about["epoch"], changed, about.get("temperature", 1.0))


def make_ready(trained: Trained, device: torch.device) -> None:
    """Move a trained model, in place, to the device and prepare it for fast inference.

    Afterwards it can neither be trained nor saved, because its BatchNorm layers are folded into the convolutions.
    """
    fold_batch_norm(trained.method)
    trained.method.to(device).to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Opened:
    """A run's selected model, on its device, and the images to measure it on."""

    trained: Trained
    spec: RunSpec  # with the request's changes
    device: torch.device
    images: Images

    @property
    def index(self) -> DatasetIndex:
        """The index that the images are of."""
        return self.images.index


def open_trained(run: RunFolder, request: EvalRequest, console: Console, index: DatasetIndex | None = None) -> Opened:
    """Read a run's selected model and its own data (unless `index` holds them) or new photos.

    BadRequest if the data have other classes.
    """
    from fgvc_cli.inference.dataset import open_images  # the readers of datasets would delay `fgvc predict`

    trained = load_trained(run.model_file)
    spec = with_request(trained.spec, request)
    device = prepare_device(spec.train)
    if request.compile:
        check_compiler(device)
    images = open_images(run, trained, request, console, index)
    _same_classes(trained.classes, images.index)
    make_ready(trained, device)
    return Opened(trained, spec, device, images)


def _same_classes(trained: tuple[str, ...], index: DatasetIndex) -> None:
    if trained == index.classes:
        return
    odd = sorted(set(trained) ^ set(index.classes))
    hint = f"{len(odd)} differ, for example {odd[0]!r}" if odd else "the same names in another order"
    raise BadRequest(
        f"the classes at {index.root} are not those the model was trained on ({hint}): point --data-dir at its data"
    )
