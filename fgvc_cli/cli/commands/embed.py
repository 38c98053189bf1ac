"""`fgvc embed`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.machine.imports import quick_imports


def embed(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Images, folders, tars, patterns, or - for a list of paths on stdin."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "--output", "-o", help="File to write: NAME.npz, NAME.csv or NAME.parquet.")
    ],
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            "--model",  # torchrun takes --run for one of its own
            help="Run folder, model.safetensors, or hf://OWNER/NAME. Default: the newest under runs/.",
            **options.RUN,
        ),
    ] = None,
    branches: Annotated[
        bool, typer.Option("--branches", help="Also what each branch's classifier reads: the mean of its map.")
    ] = False,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    follow_links: options.FollowLinks = None,
) -> None:
    """Write one vector for each image, for comparing images: what the model's classifier reads.

    Vectors are computed once and kept: a repeated command goes on where a killed one ended. Under torchrun the images
    are shared by all processes. An image that cannot be read is left out, and the exit code is then 1.
    """
    from fgvc_cli.terminal import Console

    with quick_imports():
        from fgvc_cli.inference.features.embedder import Embedder
        from fgvc_cli.inference.find import newest_model
        from fgvc_cli.inference.look import open_model
        from fgvc_cli.inference.pictures import Picture, find_pictures, listed
        from fgvc_cli.inference.request import EvalRequest
        from fgvc_cli.machine.distributed import joined, launched
        from fgvc_cli.predict.embeddings import check_out, write_embeddings
        from fgvc_cli.progress import Reporter

    check_out(out)
    reporter = Reporter(Console(stderr=True, quiet=not launched().main))
    failed: list[Picture] = []

    def on_bad(picture: Picture, error: Exception) -> None:
        failed.append(picture)
        reporter.line(f"{picture.name}: {str(error).removeprefix(f'{picture.file}: ')}")

    pictures = find_pictures(
        paths,
        listed(sys.stdin),
        follow_links=bool(follow_links),
        tars=True,
        note=lambda text: reporter.line(f"note: {text}"),
    )
    with joined(30.0):
        path = run or newest_model()
        model = open_model(path, EvalRequest("test", device, precision, batch_size))
        reporter.line(f"{model.name}: {model.spec.method.name} on {model.device}")
        embedder = Embedder.of_model(model, branches=branches)
        count = write_embeddings(out, embedder, pictures, reporter, on_bad)
    widths = ", ".join(f"{name} {part.stop - part.start}" for name, part in embedder.layout.items())
    reporter.line(f"written: {out}: {count} images; {widths} numbers each" + f"; {len(failed)} failed" * bool(failed))
    if failed:
        raise typer.Exit(1)
