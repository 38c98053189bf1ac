"""A run's trained model with the images to measure it on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.dataset import Images, open_images
from fgvc_cli.inference.request import EvalRequest, with_request
from fgvc_cli.inference.trained import Trained, load_trained, make_ready
from fgvc_cli.machine.compiling import check_compiler
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console


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
