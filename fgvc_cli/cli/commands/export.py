"""`fgvc export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.streams import say, tell


def export(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Run folder, model.safetensors, or hf://OWNER/NAME. Default: the newest under runs/.",
            show_default=False,
            **options.RUN,
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="onnx|torch|safetensors",
            help="onnx: for onnxruntime, alone and without PyTorch. torch: a program for torch.export.load. "
            "safetensors: the weights.",
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option("--out", "--output", "-o", help="File to write. Default: export/model.* in the run's folder."),
    ] = None,
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="Take any number of images at once, not one.")
    ] = False,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Also give the method's maps, boxes and embedding, as named outputs.")
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            metavar="fp32|fp16|int8",
            help="fp16: for torch and safetensors, the weights alone. int8, for onnx: convolutions and matrix "
            "products, with ranges from training images.",
        ),
    ] = "fp32",
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Images on which the file is compared with the run; may be repeated. Default: the validation "
            "split; without one, for fp32, the training split.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        int | None,
        typer.Option(
            min=32, metavar="N", help="Compare on at most N. Default: 64; 2000 for fp16 and int8.", show_default=False
        ),
    ] = None,
    calibration: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Images that set the ranges of int8; may be repeated. Default: training images of the run.",
            show_default=False,
        ),
    ] = None,
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Accuracy that fp16 or int8 may lose: 0.01 is one percentage point.")
    ] = 0.01,
) -> None:
    """Write a run's model as one file that answers by itself: network, preprocessing, class names, thresholds.

    The file is compared with the run on real images, from the bytes of their files on. Where the probabilities differ
    by more than 1e-4, nothing is written and the exit code is 1.
    """
    flags = {key: value for key, value in locals().items() if key not in ("run", "out")}

    from fgvc_cli.api.models.exporting import export
    from fgvc_cli.runs.folder import RunFolder

    if run is None:
        run = RunFolder.newest().path
        tell(f"newest run: {run}")
    written = export(run, out, flags)
    say(f"{written.file}: {written.size / 2**20:.1f} MiB, {precision}", *written.parity.lines())
