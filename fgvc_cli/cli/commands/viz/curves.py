"""`fgvc viz curves`: loss and accuracy by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli.commands.viz.whole_run import Dpi, Force, Out, newest_run, picture_file
from fgvc_cli.streams import say, tell


def curves(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders. Default: the newest under runs/.", show_default=False)
    ] = None,
    out: Out = None,
    dpi: Dpi = 150,
    force: Force = False,
) -> None:
    """Draw loss and accuracy by epoch, of one run or of several in comparison."""
    from fgvc_cli.runs.folder import RunFolder

    folders = [RunFolder.open(run) for run in runs] if runs else [newest_run()]
    many = len(folders) > 1
    file = picture_file(folders[0].path / "viz", out, f"curves-of-{len(folders)}-runs" if many else "curves", force)

    from fgvc_cli.viz.plots.curves import Curves, draw_curves

    read = [Curves.read(folder) for folder in folders]
    for run in read:
        for problem in run.problems:
            tell(f"{run.name}: {problem}")
    draw_curves(file, read, dpi)
    say(str(file))
