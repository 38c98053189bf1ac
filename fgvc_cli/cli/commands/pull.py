"""`fgvc pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.streams import say


def pull(
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME[@REVISION]", help="Repository on the hub.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="New run folder. Default: runs/NAME.", show_default=False)
    ] = None,
) -> None:
    """Make a run folder of a model on the Hugging Face hub.

    Only the files of a run are fetched, and they are checked first; nothing is unpickled and no code runs. `--run
    hf://OWNER/NAME` uses such a model without a folder of its own.
    """
    from fgvc_cli.api.sharing import pull

    say(str(pull(name, out).folder))
