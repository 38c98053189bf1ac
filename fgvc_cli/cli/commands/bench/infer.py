"""`fgvc bench infer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fgvc_cli.cli import options
from fgvc_cli.cli.commands.bench.shared import Bench, Json, Rounds, Steps, Stock, Trace
from fgvc_cli.errors import BadRequest


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
    flags = dict(locals())
    if model is not None:
        _engines(model, flags)
        return
    Bench("infer", flags, options.resolved_spec_of({**flags, "weights": "none"})).run(("infer",))


def _engines(file: Path, flags: dict[str, Any]) -> None:
    """Measure an exported file. BadRequest for a flag that its spec says already."""
    own = ("model", "batch_size", "rounds", "steps", "json")
    odd = [f"--{key.replace('_', '-')}" for key, value in flags.items() if value and key not in own]
    if odd:
        raise BadRequest(f"--model says what is measured: leave {', '.join(odd)} out")
    from fgvc_cli.bench.exported import cases_of_export

    cases = cases_of_export(file, flags["batch_size"])
    spec = cases[0].spec
    Bench("infer", flags | {"classes": cases[0].classes}, spec).run(("infer",), [cases])
