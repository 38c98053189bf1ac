"""`fgvc viz neighbours`: images beside the training images that are most like them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.cli.commands.viz.whole_run import Dpi, Force, Out
from fgvc_cli.streams import say


def neighbours(
    paths: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Images, folders or patterns.")],
    run: Annotated[Path | None, typer.Option(help="Run folder. Default: the newest under runs/.")] = None,
    among: Annotated[
        str, typer.Option(metavar="FOLDER|SPLIT", help="A folder of images, or train, val or test of the run's data.")
    ] = "train",
    count: Annotated[int, typer.Option("--count", "-k", min=1, help="Number of images beside each.")] = 5,
    out: Out = None,
    dpi: Dpi = 100,
    force: Force = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    data_dir: options.DataDir = None,
) -> None:
    """Draw images, each beside the training images whose embeddings are nearest: examples of what it was taken for."""
    from fgvc_cli.api.loading import load
    from fgvc_cli.api.runs.plots import picture_file

    pictures = options.pictures(paths)
    model = load(run, device=device, batch_size=batch_size, data_dir=data_dir)
    file = picture_file(model.folder / "viz", out, "neighbours", dpi, force)
    model.similar(pictures, among, count, sheet=file, dpi=dpi, progress=True)
    say(str(file))
