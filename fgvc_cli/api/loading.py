"""Open a trained model wherever it is. Nothing here imports torch before it is needed."""

from __future__ import annotations

import os

from fgvc_cli.api.models.base import Model
from fgvc_cli.api.place import RunLike, place_of
from fgvc_cli.files import expanded
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.predict.asked import is_exported


def load(
    source: RunLike | None = None,
    *,
    device: str | None = None,
    precision: str | None = None,
    batch_size: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Model:
    """A trained model.

    Args:
        source: a run's folder, a `model.safetensors` or an exported .onnx from anywhere, or hf://OWNER/NAME[@REVISION]
            on the hub; None: the newest run below runs/. An exported model answers without PyTorch.
        device: auto, cpu, mps, cuda or cuda:N; None: as the run was trained.
        precision: fp32, bf16 or fp16; None: as the run was trained.
        batch_size: images that are computed at a time; None: as in the run's evaluation.
        data_dir: where the run's data are now, for what is compared with them; None: where they were.

    Raises:
        BadRequest: there is no model, or it cannot be used on this machine.
        FgvcError: it cannot be read, or fetched.
    """
    path = None if source is None else place_of(source)
    if path is not None and is_exported(path):
        from fgvc_cli.api.models.exported import ExportedModel
        from fgvc_cli.predict.asked import open_for_answers

        return ExportedModel(open_for_answers(path, batch_size=batch_size, device=device, precision=precision))
    with quick_imports():
        from fgvc_cli.api.models.trained import TrainedModel
        from fgvc_cli.inference.find import newest_model
        from fgvc_cli.inference.look import open_model
        from fgvc_cli.inference.request import EvalRequest

    root = None if data_dir is None else expanded(data_dir)
    request = EvalRequest(None, device, precision, batch_size, root=root)
    return TrainedModel(open_model(newest_model() if path is None else path, request))
