"""What the processes of test_distributed do; torchrun starts this file, test_distributed calls it as one process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fgvc_cli.evaluation.evaluate import evaluate_run
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.machine import compiling
from fgvc_cli.machine.distributed import joined
from fgvc_cli.machine.interrupt import Wish
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.journal import Journal
from fgvc_cli.terminal import Console
from fgvc_cli.training.epoch import _train_batches
from fgvc_cli.training.session import Session
from tests.conftest import STEPPED, small_spec

QUIET = Console(quiet=True)
EPOCHS = 3  # of 8 batches of 5 images: shares of 3 and 2


DICE = torch.rand


def frozen_dice(*shape: Any, device: torch.device | None = None, generator: torch.Generator | None = None) -> Tensor:
    """Numbers in 0..1 that do not depend on where in a batch, or in which process, an image is.

    Those of a generator (augmentation) are as always: they do not either.
    """
    if generator is not None:
        return DICE(*shape, generator=generator)
    size = shape[0] if isinstance(shape[0], tuple | torch.Size) else shape
    row = torch.linspace(0.05, 0.95, max(1, torch.Size(size[1:]).numel())).roll(3).view(size[1:])
    return row.expand(size).to(device)


def freeze_statistics(method: nn.Module) -> None:
    """BatchNorm normalises with what it began with, whatever mode the method is in."""
    for module in method.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            module.train = lambda mode=True, module=module: module


def steps(method: str, photos: Path, file: Path, *sets: str) -> None:
    """Weights after some epochs of training steps."""
    spec = small_spec(photos, method, f"train.epochs={EPOCHS}", "train.batch_size=5", "optim.lr=0.001", *sets)
    session = Session.build(RunFolder(Path("nowhere")), spec, QUIET, load_weights=True)
    freeze_statistics(session.learner.method)
    for epoch in range(EPOCHS):
        session.position.epoch, session.position.batch = epoch, 0
        session.learner.begin_epoch(epoch)
        _train_batches(session, epoch, Journal(), Reporter(QUIET), Wish())
    save_file({name: value.contiguous() for name, value in session.learner.method.state_dict().items()}, file)


def evaluate(run: Path, file: Path) -> None:
    """Measures of a run's model on its test split."""
    result = evaluate_run(RunFolder(run), EvalRequest("test"), QUIET)
    file.write_text(json.dumps(result))


def all_methods(photos: Path, folder: Path) -> None:
    torch.rand = frozen_dice
    try:
        for name in STEPPED:
            steps(name, photos, folder / f"{name}.safetensors")
    finally:
        torch.rand = DICE


def compiled(photos: Path, folder: Path) -> None:
    """The steps of the plain network as graphs, alone and with gradients of two batches added up."""
    for accumulate in (1, 2):
        file = folder / f"{accumulate}.safetensors"
        steps("baseline", photos, file, "train.compile=true", f"optim.accumulate={accumulate}")


if __name__ == "__main__":
    compiling.BACKEND = "aot_eager"
    work = {"evaluate": evaluate, "steps": all_methods, "compiled": compiled}[sys.argv[1]]
    torch.set_num_threads(1)
    with joined(5) as here:
        out = Path(sys.argv[3]) / str(here.rank)
        out.parent.mkdir(exist_ok=True, parents=True)
        out.mkdir(exist_ok=True)
        work(Path(sys.argv[2]), out / "result.json" if sys.argv[1] == "evaluate" else out)
