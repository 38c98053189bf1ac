"""`fgvc serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.machine import interrupt
from fgvc_cli.streams import keep_going, say, tell

if TYPE_CHECKING:
    from fgvc_cli.inference.look import Model

_WHERE, _ANSWERS, _LIMITS = "Where it listens", "What it answers", "What it takes on"
_OPENING = ("device", "precision", "batch_size", "data_dir")  # flags by which the model is opened


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
    given = dict(locals())
    flags = {key: value for key, value in given.items() if key not in ("run", *_OPENING)}

    from fgvc_cli.api.models.serving import serve
    from fgvc_cli.progress import Reporter
    from fgvc_cli.terminal import Console

    def opened() -> Model:
        from fgvc_cli.inference.find import newest_model
        from fgvc_cli.inference.look import open_model
        from fgvc_cli.inference.request import EvalRequest

        request = EvalRequest(None, device, precision, batch_size, root=data_dir)
        model = open_model(run or newest_model(), request)
        keep_going()
        return model

    kept = serve(opened, flags, _ready, Reporter(Console(stderr=True)))
    raise interrupt.Stopped(f"stopped; corrections are in {kept.parent}/" if kept else "stopped")


def _ready(address: str) -> None:
    say(address)
    tell("Ctrl-C stops it")
