"""`fgvc push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.streams import say


def push(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository on the hub; it is made if needed.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private, if it is made now.")] = False,
    picture: Annotated[
        list[Path] | None,
        typer.Option(
            help="Image that you may publish: the card shows what the model looked at in it. Up to four.",
            show_default=False,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence", "--license", metavar="ID", help="Of the model, such as apache-2.0.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write the files into this new folder; nothing is sent.", show_default=False),
    ] = None,
) -> None:
    """Send a run's model to the Hugging Face hub, with a model card.

    What prediction needs is sent: weights, settings, classes, calibration, measures. No image, no name of an image and
    no path of this machine is, except what --picture names.
    """
    from fgvc_cli.api.runs.showing import push

    say(push(run, name, private=private, picture=picture or (), licence=licence, out=out))
