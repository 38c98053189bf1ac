"""`fgvc bench data`."""

from __future__ import annotations

from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.cli.commands.bench.shared import Json, Rounds, run


def data(
    dataset: options.Dataset = None,
    preset: options.Preset = None,
    config: options.Config = None,
    sets: options.Sets = None,
    image_size: options.ImageSize = None,
    fit: options.Fit = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    data_dir: options.DataDir = None,
    workers: options.Workers = None,
    images: Annotated[int, typer.Option(min=2, help="Number of images to use.")] = 512,
    rounds: Rounds = 8,
    json: Json = None,
) -> None:
    """Measure images per second of each way to load training images, compared with the usual one.

    Without a dataset, images of 500 x 400 pixels are generated, resized to 512 and cropped to 448.
    """
    run("data", dict(locals()))
