"""`fgvc viz embedding`: the features of a split's images in two dimensions."""

from __future__ import annotations

from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.cli.commands.viz.whole_run import IMAGES, Dpi, Force, Out, Run, open_run
from fgvc_cli.streams import say


def embedding(
    run: Run = None,
    projection: Annotated[str, typer.Option(metavar="pca|tsne", help="Projection to two dimensions.")] = "pca",
    split: options.Split = None,
    sample: Annotated[int, typer.Option(min=3, help="At most this many images, spread over the classes.")] = 2000,
    out: Out = None,
    dpi: Dpi = 150,
    force: Force = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    data_dir: options.DataDir = None,
    name: options.NewName = None,
    unknown_classes: options.UnknownClasses = "error",
) -> None:
    """Draw the features of a split's images in two dimensions: look-alike classes overlap, hollow points are wrong."""
    flags = {key: value for key, value in locals().items() if key in IMAGES}

    from fgvc_cli.api.runs.plots import draw_embedding

    folder = open_run(run).path
    say(str(draw_embedding(folder, flags, out, projection=projection, sample=sample, dpi=dpi, force=force)))
