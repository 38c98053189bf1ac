"""`fgvc viz curves`: loss and accuracy by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli.commands.viz.whole_run import Dpi, Force, Out, newest_run
from fgvc_cli.streams import say


def curves(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders. Default: the newest under runs/.", show_default=False)
    ] = None,
    out: Out = None,
    dpi: Dpi = 150,
    force: Force = False,
) -> None:
    """Draw loss and accuracy by epoch, of one run or of several in comparison."""
    from fgvc_cli.api.runs.plots import draw_curves

    say(str(draw_curves(runs or [newest_run().path], out, dpi=dpi, force=force)))
