"""`fgvc bench methods`."""

from __future__ import annotations

from typing import Annotated

from fgvc_cli.cli import options
from fgvc_cli.cli.commands.bench.shared import MEASURE, FromFiles, Json, Rounds, Steps, Stock, Trace, run

Methods = Annotated[
    str | None, options.flag("Only these methods, separated by commas. Default: every method.", MEASURE)
]


def methods(
    methods: Methods = None,
    sets: options.Sets = None,
    classes: options.Classes = None,
    batch_size: options.BatchSize = None,
    backbone: options.Backbone = None,
    image_size: options.ImageSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    compile: options.Compile = None,
    data_dir: options.DataDir = None,
    workers: options.Workers = None,
    cache: options.Cache = None,
    from_files: FromFiles = False,
    rounds: Rounds = 8,
    steps: Steps = None,
    stock: Stock = False,
    profile: Trace = None,
    json: Json = None,
) -> None:
    """Measure training and inference of every method as in its paper on CUB-200-2011, or with one backbone and size.

    The batch size is the preset's on a GPU and 2 on a CPU. --from-files reads CUB from --data-dir, or generated images.
    """
    flags = dict(locals())
    flags["methods"] = None if methods is None else [name.strip() for name in methods.split(",")]
    run("methods", flags)
