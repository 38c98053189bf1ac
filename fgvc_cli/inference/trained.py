"""Load a trained model from its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from fgvc_cli.errors import FgvcError
from fgvc_cli.inference.folding import fold_batch_norm
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Method
from fgvc_cli.runs.checkpoint import load_model
from fgvc_cli.runs.schema import checked_spec
from fgvc_cli.spec.run import RunSpec


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
