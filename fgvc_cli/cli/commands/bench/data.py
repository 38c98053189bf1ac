"""`fgvc bench data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.cli.commands.bench.shared import Json, Rounds, check_writable, index_of, named, write_found


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
    flags = dict(locals())
    if json is not None:
        check_writable(json, folder=False)
    generated = () if named(flags) else ("data.image_size=448", "data.resize=512")
    spec = options.resolved_spec_of({**flags, "sets": [*generated, *(sets or ())]})

    from fgvc_cli.bench.data import Setting, measure
    from fgvc_cli.cli.bench_tables import print_data
    from fgvc_cli.machine.device import prepare_device
    from fgvc_cli.progress import progress_of
    from fgvc_cli.terminal import Console

    console = Console(stderr=True)
    found_device = prepare_device(spec.train)
    index = index_of(spec, console) if named(flags) else None
    setting = Setting(spec.data, spec.train.batch_size, found_device, rounds, images, workers)
    found = measure(setting, index, progress_of(console, ""))
    if json != Path("-"):
        print_data(found, f"{spec.data.resize_side} → {spec.data.side} pixels, batches of {setting.batch_size}")
    write_found(json, "data", found_device, {"rounds": rounds, "specs": [spec]}, [found.as_json()])
