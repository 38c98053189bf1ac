"""`fgvc viz neighbours`: images beside the training images that are most like them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.cli.commands.viz.whole_run import Dpi, Force, Out, picture_file
from fgvc_cli.machine.imports import quick_imports
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
    from fgvc_cli.terminal import Console

    with quick_imports():
        from fgvc_cli.inference.features.gallery import compare
        from fgvc_cli.inference.find import newest_model
        from fgvc_cli.inference.look import open_model
        from fgvc_cli.inference.pictures import find_pictures
        from fgvc_cli.inference.request import EvalRequest
        from fgvc_cli.progress import Reporter
        from fgvc_cli.viz.neighbours import draw_neighbours

    reporter = Reporter(Console(stderr=True))
    pictures = find_pictures(paths, note=lambda text: reporter.line(f"note: {text}"))
    path = run or newest_model()
    home = path if path.is_dir() else path.parent
    file = picture_file(home / "viz", out, "neighbours", force)
    model = open_model(path, EvalRequest(None, device, batch_size=batch_size, root=data_dir))
    found = compare(model, pictures, among, count, reporter)
    draw_neighbours(file, model, pictures, found, dpi)
    say(str(file))
