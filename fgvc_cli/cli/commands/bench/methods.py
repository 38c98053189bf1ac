"""`fgvc bench methods`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fgvc_cli.cli import options

if TYPE_CHECKING:
    from fgvc_cli.spec.run import RunSpec

from fgvc_cli.cli.commands.bench.shared import MEASURE, Bench, FromFiles, Json, Rounds, Steps, Stock, Trace

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
    from fgvc_cli.spec.methods import METHOD_SPECS, method_spec

    flags = {**locals(), "dataset": "cub", "weights": "none"}
    every = [name for name, spec in METHOD_SPECS.items() if not spec.at_once]  # a probe is its plain backbone
    names = every if methods is None else [name.strip() for name in methods.split(",")]
    for name in names:
        method_spec(name)
    flags["batch_size"] = batch_size or _batch_size(options.spec_of(flags))
    specs = [options.resolved_spec_of({**flags, "method": name}) for name in dict.fromkeys(names)]
    Bench("methods", flags, *specs).run(("train", "infer"))


def _batch_size(spec: RunSpec) -> int | None:
    """On a CPU 2, the smallest batch that BatchNorm trains on; elsewhere None: the presets decide."""
    from fgvc_cli.machine.device import resolve_device

    return 2 if resolve_device(spec.train.device).type == "cpu" else None
