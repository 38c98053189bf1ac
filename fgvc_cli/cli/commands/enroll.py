"""`fgvc enroll`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.errors import BadRequest
from fgvc_cli.streams import tell


def enroll(
    run: Annotated[Path, typer.Argument(help="Run folder of method probe with head prototype or knn.")],
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Images of the class: files, folders or patterns.")
    ] = None,
    name: Annotated[str, typer.Option("--class", help="The class: a new one, or one that gets more images.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Forget the class instead.")] = False,
) -> None:
    """Teach a model a class without training, from a few images, in seconds; or forget one.

    The model gets a new version; the one before stays in the run's folder versions/.
    """
    if not name:
        raise BadRequest('which class? add --class "NAME"')
    if remove == bool(paths):
        raise BadRequest("--remove takes no images" if remove else "which images? name files or folders of the class")

    from fgvc_cli.api.run import Run

    opened = Run(run)
    if remove:
        count = opened.forget(name)
        tell(f"{run} has forgotten {name!r}; it knows {count} classes")
        return
    pictures = options.pictures(paths or [])
    count = opened.enroll(name, pictures)
    tell(f"{run} has learnt {len(pictures)} images of {name!r}; it knows {count} classes")
