"""`fgvc bench train`."""

from __future__ import annotations

from fgvc_cli.cli import options
from fgvc_cli.cli.commands.bench.shared import FromFiles, Json, Rounds, Steps, Stock, Trace, run


def train(
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
    """Measure training steps on a fixed batch, next to those of the plain backbone in the same rounds.

    Weights are random and nothing is downloaded; without --from-files no dataset is needed.
    """
    run("train", dict(locals()))
