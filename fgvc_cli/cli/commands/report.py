"""`fgvc report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.machine.imports import quick_imports
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

    with quick_imports():
        from fgvc_cli.api.showing import pictures_in
        from fgvc_cli.inference.request import EvalRequest
        from fgvc_cli.report.page import write_report

    number = pictures_in(len(folders)) if sample is None else sample
    request = EvalRequest(
        split, device, precision, batch_size, root=data_dir, name=name, unknown_classes=unknown_classes
    )
    written = write_report(folders, out, request, console, sample=number, force=force)
    for notice in written.notices:
        console.note(notice)
    say(f"written: {written.file} ({written.size / 1e6:.1f} MB)")
