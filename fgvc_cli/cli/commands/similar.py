"""`fgvc similar`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgvc_cli.cli import options
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.streams import say_json

if TYPE_CHECKING:
    from fgvc_cli.inference.features.gallery import Neighbour


def similar(
    paths: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Images, folders or patterns.")],
    among: Annotated[
        str, typer.Option(metavar="FOLDER|SPLIT", help="A folder of images, or train, val or test of the run's data.")
    ] = "train",
    run: Annotated[
        Path | None,
        typer.Option(
            help="Run folder, model.safetensors, or hf://OWNER/NAME. Default: the newest under runs/.", **options.RUN
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-k", min=1, help="Number of images to list for each.")] = 5,
    json_only: Annotated[bool, typer.Option("--json", help="Print only JSON on stdout.")] = False,
    sheet: Annotated[Path | None, typer.Option("--sheet", "-o", help="Also draw a contact sheet, a PNG file.")] = None,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    data_dir: options.DataDir = None,
) -> None:
    """List the images that are most like an image, by the cosine of their embeddings.

    The embeddings are computed once and kept, for all commands. Exact: every image is compared.
    """
    from fgvc_cli.terminal import Console

    with quick_imports():
        from fgvc_cli.cli.tables import show
        from fgvc_cli.inference.features.gallery import compare
        from fgvc_cli.inference.find import newest_model
        from fgvc_cli.inference.look import open_model
        from fgvc_cli.inference.pictures import find_pictures
        from fgvc_cli.inference.request import EvalRequest
        from fgvc_cli.progress import Reporter
        from fgvc_cli.terminal import new_table

    reporter = Reporter(Console(stderr=True))
    pictures = find_pictures(paths, note=lambda text: reporter.line(f"note: {text}"))
    model = open_model(run or newest_model(), EvalRequest(None, device, batch_size=batch_size, root=data_dir))
    reporter.line(f"{model.name}: {model.spec.method.name} on {model.device}")
    found = compare(model, pictures, among, count, reporter)
    if sheet is not None:
        from fgvc_cli.viz.neighbours import draw_neighbours

        draw_neighbours(sheet, model, pictures, found)
        reporter.line(f"written: {sheet}")
    if json_only:
        answers = zip(pictures, found, strict=True)
        say_json([{"image": one.name, "similar": list(map(_facts, near))} for one, near in answers], indent=2)
        return
    table = new_table("image", "rank", "similar", "class", "distance", numbers=("rank", "distance"))
    for picture, near in zip(pictures, found, strict=True):
        for rank, one in enumerate(near, 1):
            name = picture.name if rank == 1 else ""
            table.add_row(name, str(rank), one.picture.name, one.name or "–", f"{one.distance:.4f}")
    show(table)


def _facts(one: Neighbour) -> dict[str, Any]:
    return {"image": str(one.picture.file), "class": one.name, "distance": round(one.distance, 6)}
