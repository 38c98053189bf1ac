"""`fgvc suggest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.errors import BadRequest
from fgvc_cli.streams import say, say_json, tell


def suggest(
    run: Annotated[Path, typer.Argument(help="Run folder, model.safetensors, or hf://OWNER/NAME.", **options.RUN)],
    paths: Annotated[list[str], typer.Argument(metavar="PHOTOS...", help="Unlabelled images or folders of them.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of images to choose.")] = 100,
    output: Annotated[Path, typer.Option("--output", "--out", "-o", help="CSV file of the list.")] = Path(
        "suggestions.csv"
    ),
    sheet: Annotated[Path | None, typer.Option("--sheet", help="Also draw a contact sheet, a PNG file.")] = None,
    json_only: Annotated[bool, typer.Option("--json", help="Print only JSON on stdout, and write no list.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing list.")] = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
) -> None:
    """Choose the images to label next: those that the model is unsure of, spread over what they show."""
    if output.exists() and not force and not json_only:  # before images are listed and a model is opened
        raise BadRequest(f"{output} exists: --force replaces it, -o names another file")

    from fgvc_cli.api.loading import load

    pictures = options.pictures(paths)
    model = load(run, device=device, batch_size=batch_size)
    to = None if json_only else output
    found = model.suggest(pictures, count, output=to, sheet=sheet, force=force, skip_bad=True, progress=True)
    if sheet is not None:
        tell(f"written: {sheet}")
    if json_only:
        say_json(
            [
                {
                    "image": one.picture.name,
                    "uncertainty": round(one.uncertainty, 6),
                    "classes": list(one.classes),
                    "probabilities": [round(share, 6) for share in one.probabilities],
                }
                for one in found
            ],
            indent=2,
        )
        return
    say(f"written: {output}: {len(found)} of {len(pictures)} images to label, the most useful first")
