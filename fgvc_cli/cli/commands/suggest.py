"""`fgvc suggest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.streams import say, say_json


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
    if output.exists() and not force and not json_only:
        raise BadRequest(f"{output} exists: --force replaces it, -o names another file")

    from fgvc_cli.terminal import Console

    with quick_imports():
        from fgvc_cli.inference.look import open_model
        from fgvc_cli.inference.pictures import find_pictures
        from fgvc_cli.inference.request import EvalRequest
        from fgvc_cli.predict.suggestions import suggest, write_suggestions
        from fgvc_cli.progress import Reporter

    reporter = Reporter(Console(stderr=True))
    model = open_model(run, EvalRequest(None, device, batch_size=batch_size))
    pictures = find_pictures(paths, note=lambda text: reporter.line(f"note: {text}"))
    found = suggest(model, pictures, count, reporter, lambda picture, error: reporter.line(str(error)))
    if sheet is not None:
        from fgvc_cli.viz.photos import Photo, draw_photos

        words = [[f"{name} {share:.0%}" for name, share in one.likeliest] for one in found]
        photos = [Photo(one.picture.file, *two) for one, two in zip(found, words, strict=True)]
        draw_photos(sheet, photos, model.spec.data.max_pixels)
        reporter.line(f"written: {sheet}")
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
    write_suggestions(output, found)
    say(f"written: {output}: {len(found)} of {len(pictures)} images to label, the most useful first")
