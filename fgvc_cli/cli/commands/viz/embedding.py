"""`fgvc viz embedding`: the features of a split's images in two dimensions."""

from __future__ import annotations

from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.cli.commands.viz.whole_run import Dpi, Force, Out, Run, open_run, picture_file
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
    from fgvc_cli.inference.new_photos import named, pictures_folder
    from fgvc_cli.inference.request import EvalRequest

    folder = open_run(run)
    request = EvalRequest(
        split, device, batch_size=batch_size, root=data_dir, name=name, unknown_classes=unknown_classes
    )
    shown = named(folder, request)
    file = picture_file(pictures_folder(folder, shown), out, f"embedding-{shown.name}-{projection}", force)

    from fgvc_cli.data.splits import limit
    from fgvc_cli.inference.look import open_model
    from fgvc_cli.inference.pictures import split_pictures
    from fgvc_cli.progress import Reporter
    from fgvc_cli.terminal import Console
    from fgvc_cli.viz.plots.embedding import draw_embedding, gather
    from fgvc_cli.viz.plots.projection import check_projection, project

    check_projection(projection)
    console = Console(stderr=True)
    model = open_model(folder.path, request)
    images = model.open_images(console)
    chosen = limit(images.split, sample)
    found = split_pictures(images.index, chosen, model.classes)
    pictures = [picture for picture in found if picture.label is not None]
    features = gather(model, pictures, Reporter(console))
    title = f"{model.name}\n{len(pictures)} {images.name} images of {len(model.classes)} classes"
    draw_embedding(file, project(features.values, projection), features, model.classes, title, dpi)
    say(str(file))
