"""What the benchmarks share: flags, printing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgvc_cli.cli import options
from fgvc_cli.errors import FgvcError
from fgvc_cli.streams import say_json

if TYPE_CHECKING:
    from fgvc_cli.api.machine import Comparison, Kind


MEASURE = "What is measured"


Rounds = Annotated[int, typer.Option(min=1, help="Measure every way this many times, in turn.")]
Steps = Annotated[
    int | None,
    options.flag("Steps of each way in a round. Default: as many as time allows, at most 20.", MEASURE, min=1),
]
Stock = Annotated[
    bool,
    options.flag("Also measure the plain backbone with PyTorch's defaults: fp32, NCHW, eager.", MEASURE, "--stock"),
]
Trace = Annotated[
    Path | None,
    options.flag(
        "Write a profiler trace of a few steps into this folder; print the slowest operations.", MEASURE, "--profile"
    ),
]
Json = Annotated[
    Path | None,
    options.flag("Write all results to this file as JSON; - prints them instead of the tables.", MEASURE, "--json"),
]
FromFiles = Annotated[
    bool,
    options.flag(
        "Also measure training on images from files, read by the run's own data loader.", MEASURE, "--from-files"
    ),
]


def run(what: Kind, flags: dict[str, Any]) -> None:
    """Measure by the command's flags; each table is printed as soon as it is complete, or JSON when all is measured."""
    from fgvc_cli.api.machine import benchmarked
    from fgvc_cli.terminal import Console

    bare = flags["json"] == Path("-")
    given = {key: value for key, value in flags.items() if key != "sets"} | {"set": flags["sets"]}
    given["json"] = None if bare else flags["json"]
    found = benchmarked(what, given, Console(stderr=True), (lambda _: None) if bare else _print)
    if bare:
        say_json(found.as_json())
    elif found.loading is not None:
        from fgvc_cli.cli.bench_tables import print_data

        (spec,) = found.specs
        images = f"{spec.data.resize_side} → {spec.data.side} pixels, batches of {spec.train.batch_size}"
        print_data(found.loading, images)
    if found.short:
        advice = "use a smaller --batch-size or --image-size, or --precision bf16"
        raise FgvcError(f"out of memory: {', '.join(found.short)}; {advice}")


def _print(one: Comparison) -> None:
    from fgvc_cli.cli.bench_tables import print_measured, print_operations

    print_measured(one.measured, one.device)
    for name, operations in one.operations.items():
        print_operations(name, one.measured.what, operations, one.traces[name])
