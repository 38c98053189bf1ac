"""`fgvc serve`."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.errors import BadRequest
from fgvc_cli.machine import interrupt
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.streams import keep_going, say, tell

_TOKEN = "FGVC_TOKEN"  # the variable that holds one
_NEEDED = ("fastapi", "uvicorn")
_WHERE, _ANSWERS, _LIMITS = "Where it listens", "What it answers", "What it takes on"


def serve(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Run folder, model.safetensors, or hf://OWNER/NAME. Default: the newest under runs/.",
            **options.RUN,
        ),
    ] = None,
    host: Annotated[
        str, options.flag("Address. Another than this machine's own asks for a token.", _WHERE)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.", rich_help_panel=_WHERE)] = 8000,
    allow_host: Annotated[
        list[str] | None, options.flag("Another name by which browsers reach it; repeatable.", _WHERE, metavar="NAME")
    ] = None,
    corrections: Annotated[
        Path | None, options.flag("Folder of what is corrected. Default: corrections/ in the run's folder.", _ANSWERS)
    ] = None,
    neighbours: Annotated[
        int, typer.Option(min=0, metavar="N", help="Nearest training images to show.", rich_help_panel=_ANSWERS)
    ] = 3,
    min_confidence: Annotated[
        float,
        typer.Option(min=0, max=1, help="A prediction less likely than this is 'unsure'.", rich_help_panel=_ANSWERS),
    ] = 0.0,
    target_precision: options.TargetPrecision = None,
    unknown: Annotated[
        bool | None,
        options.flag(
            "Images of no known class are 'unknown'. Default: if the run can tell.", _ANSWERS, "--unknown/--no-unknown"
        ),
    ] = None,
    rollup: options.RollupShare = None,
    taxonomy: options.Taxonomy = None,
    set_coverage: options.SetCoverage = None,
    max_megabytes: Annotated[
        float, typer.Option(min=0.01, max=1000, help="Of an image file.", rich_help_panel=_LIMITS)
    ] = 25,
    max_megapixels: Annotated[
        float, typer.Option(min=0.01, max=1000, help="Of an image.", rich_help_panel=_LIMITS)
    ] = 60,
    queue: Annotated[
        int, typer.Option(min=1, max=1000, help="Requests that may wait for the model.", rich_help_panel=_LIMITS)
    ] = 32,
    timeout: Annotated[
        float, typer.Option(min=1, max=3600, help="Seconds after which a request is given up.", rich_help_panel=_LIMITS)
    ] = 60,
    keep: Annotated[
        int, typer.Option(min=1, max=100_000, help="Images that are kept to be explained.", rich_help_panel=_LIMITS)
    ] = 500,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    data_dir: options.DataDir = None,
) -> None:
    """Show a trained model as a page in the browser: drop images, see answers and why, correct them.

    The corrections are a CSV file that `fgvc train` reads. The page is on this machine alone unless --host says
    otherwise; then clients need the token in the address that is printed (FGVC_TOKEN sets it).
    """
    _must_have_packages()

    from fgvc_cli.terminal import Console

    with quick_imports():
        from fgvc_cli.inference.find import newest_model
        from fgvc_cli.inference.look import open_model
        from fgvc_cli.inference.request import EvalRequest
        from fgvc_cli.predict.rules import Wishes
        from fgvc_cli.progress import Reporter
        from fgvc_cli.serve.limits import MEGABYTE, Limits
        from fgvc_cli.serve.opening import open_site
        from fgvc_cli.serve.web.server import listening_socket
        from fgvc_cli.serve.web.server import serve as serve_site

    limits = Limits(
        upload=round(max_megabytes * MEGABYTE),
        pixels=round(max_megapixels * 1e6),
        waiting=queue,
        seconds=timeout,
        kept=keep,
        **({"together": batch_size} if batch_size else {}),
    )
    listening = listening_socket(host, port)
    reporter = Reporter(Console(stderr=True))
    model = open_model(run or newest_model(), EvalRequest(None, device, precision, batch_size, root=data_dir))
    wishes = Wishes(min_confidence, target_precision, set_coverage, rollup, taxonomy)
    with tempfile.TemporaryDirectory(prefix="fgvc-serve-") as folder:
        site = open_site(model, wishes, unknown, neighbours, corrections, Path(folder), limits, reporter)
        keep_going()
        with interrupt.listening() as wish:
            token = os.environ.get(_TOKEN) or None
            serve_site(site, listening, wish, _ready, names=allow_host or (), token=token)
    kept = site.corrections
    raise interrupt.Stopped(f"stopped; corrections are in {kept.folder}/" if kept.file.exists() else "stopped")


def _must_have_packages() -> None:
    """BadRequest that names the extra, if a package is missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BadRequest(f"fgvc serve needs {' and '.join(missing)}: pip install 'fgvc[serve]'")


def _ready(address: str) -> None:
    say(address)
    tell("Ctrl-C stops it")
