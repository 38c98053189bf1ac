"""What the plots of a whole run share: their flags, and the choice of run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgvc_cli.streams import tell

if TYPE_CHECKING:
    from fgvc_cli.runs.folder import RunFolder


Run = Annotated[Path | None, typer.Argument(help="Run folder. Default: the newest under runs/.", show_default=False)]
Out = Annotated[Path | None, typer.Option(help="A .png file, or a folder. Default: viz/ in the run's folder.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing picture.")]
Dpi = Annotated[int, typer.Option(min=30, max=1200, help="Pixels per inch.")]
IMAGES = ("split", "device", "batch_size", "data_dir", "name", "unknown_classes")  # flags: of which images


def open_run(run: Path | None) -> RunFolder:
    """The given run, else the newest."""
    from fgvc_cli.runs.folder import RunFolder

    return RunFolder.open(run) if run else newest_run()


def newest_run() -> RunFolder:
    """The newest run under runs/, named on stderr."""
    from fgvc_cli.runs.folder import RunFolder

    folder = RunFolder.newest()
    tell(f"newest run: {folder.path}")
    return folder
