"""`fgvc embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.streams import tell


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
    from fgvc_cli.api.loading import load
    from fgvc_cli.machine.distributed import joined, launched
    from fgvc_cli.predict.embeddings import check_out

    check_out(out)  # before the images are listed
    pictures = options.pictures(paths, follow_links=follow_links, tars=True)
    main = launched().main
    with joined(30.0):
        model = load(run, device=device, precision=precision, batch_size=batch_size)
        if main:
            tell(f"{model.name}: {model.method} on {model.device}")
        written = model.save_embeddings(out, pictures, branches=branches)
    if main:
        widths = ", ".join(f"{name} {width}" for name, width in written.widths.items())
        failed = f"; {len(written.failed)} failed" * bool(written.failed)
        tell(f"written: {out}: {written.images} images; {widths} numbers each{failed}")
    if written.failed:
        raise typer.Exit(1)
