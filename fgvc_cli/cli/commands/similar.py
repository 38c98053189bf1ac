"""`fgvc similar`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgvc_cli.cli import options
from fgvc_cli.streams import say_json, tell

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
    from fgvc_cli.api.loading import load

    pictures = options.pictures(paths)
    model = load(run, device=device, batch_size=batch_size, data_dir=data_dir)
    tell(f"{model.name}: {model.method} on {model.device}")
    found = model.similar(pictures, among, count, sheet=sheet, progress=True)
    if sheet is not None:
        tell(f"written: {sheet}")
    if json_only:
        answers = zip(pictures, found, strict=True)
        say_json([{"image": one.name, "similar": list(map(_facts, near))} for one, near in answers], indent=2)
        return
    from fgvc_cli.cli.tables import show
    from fgvc_cli.terminal import new_table

    table = new_table("image", "rank", "similar", "class", "distance", numbers=("rank", "distance"))
    for picture, near in zip(pictures, found, strict=True):
        for rank, one in enumerate(near, 1):
            name = picture.name if rank == 1 else ""
            table.add_row(name, str(rank), one.picture.name, one.name or "–", f"{one.distance:.4f}")
    show(table)


def _facts(one: Neighbour) -> dict[str, Any]:
    return {"image": str(one.picture.file), "class": one.name, "distance": round(one.distance, 6)}
