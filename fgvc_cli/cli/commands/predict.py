"""`fgvc predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgvc_cli.cli import options

if TYPE_CHECKING:
    from fgvc_cli.progress import Reporter


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Images, folders, tars, patterns, or - for a list of paths on stdin."),
    ],
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            "--model",  # torchrun takes --run for one of its own
            help="Run folder, model.safetensors, exported .onnx, or hf://OWNER/NAME. Default: the newest under runs/.",
            **options.RUN,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of most likely classes to list.")] = 5,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="table|json|csv|parquet", help="Default: by --output's extension, else table.", show_default=False
        ),
    ] = None,
    boxes: Annotated[bool, typer.Option("--boxes", help="Also list the method's boxes, in original pixels.")] = False,
    neighbours: Annotated[
        int, typer.Option(min=0, metavar="N", help="Also list the N training images that are most like the image.")
    ] = 0,
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="A prediction less likely than this is 'unsure'.")
    ] = 0.0,
    target_precision: options.TargetPrecision = None,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="An image that seems to be of no known class is 'unknown'.")
    ] = False,
    rollup: options.RollupShare = None,
    taxonomy: options.Taxonomy = None,
    set_coverage: options.SetCoverage = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "--out",
            "-o",
            help="Write to this file instead of stdout, completely or not at all; a repeated command goes on.",
        ),
    ] = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    follow_links: options.FollowLinks = None,
) -> None:
    """Classify images. Predictions go to stdout, everything else to stderr.

    An image that cannot be read is reported and the others are still classified; the exit code is then 1. Under
    torchrun the images are shared by all processes.
    """
    from fgvc_cli.api.loading import load
    from fgvc_cli.api.models.writing import MINUTES, format_of, write
    from fgvc_cli.machine.distributed import joined, launched, on_main
    from fgvc_cli.predict.asked import PredictRequest
    from fgvc_cli.predict.writing import check_output
    from fgvc_cli.progress import Reporter
    from fgvc_cli.terminal import Console

    kind = format_of(format, output)
    check_output(output, kind)
    reporter = Reporter(Console(stderr=True, quiet=not launched().main))
    request = PredictRequest(
        min_confidence,
        target_precision,
        set_coverage,
        rollup,
        taxonomy,
        unknown,
        top=top,
        boxes=boxes,
        neighbours=neighbours,
    )
    with joined(MINUTES):
        pictures = on_main(lambda: options.pictures(paths, follow_links=follow_links, tars=True))
        path = run or _newest(boxes, reporter)
        model = load(path, device=device, precision=precision, batch_size=batch_size)
        counts = write(model.ready(request, reporter), pictures, request, output, kind, reporter)
    if counts.failed and launched().size == 1:  # torchrun would take it for a crash, and might start all over again
        raise typer.Exit(1)


def _newest(boxes: bool, reporter: Reporter) -> Path:
    from fgvc_cli.inference.find import newest_model
    from fgvc_cli.predict.asked import has_boxes

    path = newest_model(has_boxes, "boxes") if boxes else newest_model()
    reporter.line(f"newest run{' with boxes' if boxes else ''}: {path}")
    return path
