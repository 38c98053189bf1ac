"""`fgvc report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.streams import say


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Run folders, or hf://OWNER/NAME. Default: the newest under runs/.", **options.RUN),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File of the page. Default: report.html in the run's folder.")
    ] = None,
    split: options.Split = None,
    sample: Annotated[
        int | None, typer.Option(min=0, help="Pictures per run, 0 for none. Default: 48; with several runs, 24 each.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing page.")] = False,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    data_dir: options.DataDir = None,
    name: options.NewName = None,
    unknown_classes: options.UnknownClasses = "error",
) -> None:
    """Write one web page about a run, or a comparison of several; it needs no network and no other file.

    A run that has not been evaluated yet is evaluated first. The page names what is missing because images or files
    are gone. Of new photos in --data-dir, the page is eval/NAME-report.html.
    """
    from fgvc_cli.runs.folder import RunFolder
    from fgvc_cli.terminal import Console

    console = Console(stderr=True)
    folders = [RunFolder.open(path) for path in runs] if runs else [RunFolder.newest()]
    if not runs:
        console.print(f"newest run: {folders[0].path}")

    from fgvc_cli.api.runs.showing import report

    settings = {"split": split, "device": device, "precision": precision, "batch_size": batch_size}
    photos = {"data_dir": data_dir, "name": name, "unknown_classes": unknown_classes}
    written = report([run.path for run in folders], out, settings | photos, sample=sample, force=force)
    say(f"written: {written.file} ({written.size / 1e6:.1f} MB)")
