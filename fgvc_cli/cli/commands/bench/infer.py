"""`fgvc bench infer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.cli.commands.bench.shared import Json, Rounds, Steps, Stock, Trace, run


def infer(
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", help="An exported .onnx: onnxruntime beside the eager model of its spec.", show_default=False
        ),
    ] = None,
    method: options.Method = None,
    dataset: options.Dataset = None,
    preset: options.Preset = None,
    config: options.Config = None,
    sets: options.Sets = None,
    classes: options.Classes = None,
    batch_size: options.BatchSize = None,
    backbone: options.Backbone = None,
    image_size: options.ImageSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    compile: options.Compile = None,
    rounds: Rounds = 8,
    steps: Steps = None,
    stock: Stock = False,
    profile: Trace = None,
    json: Json = None,
) -> None:
    """Measure images per second in batches and the latency of one image, next to the plain backbone in the same rounds.

    Weights are random and nothing is downloaded; no dataset is needed. With --model, an exported file is measured next
    to the folded eager model of its spec, both in fp32 on the CPU and on as many threads.
    """
    run("infer", dict(locals()))
