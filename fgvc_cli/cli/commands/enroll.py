"""`fgvc enroll`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.imports import quick_imports


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
    from fgvc_cli.runs.folder import RunFolder

    if not name:
        raise BadRequest('which class? add --class "NAME"')
    if remove == bool(paths):
        raise BadRequest("--remove takes no images" if remove else "which images? name files or folders of the class")
    folder = RunFolder.open(run)

    from fgvc_cli.terminal import Console

    with quick_imports():
        from fgvc_cli.inference.pictures import find_pictures
        from fgvc_cli.progress import Reporter
        from fgvc_cli.training.features import enrollment

    reporter = Reporter(Console(stderr=True))
    if remove:
        count = enrollment.remove(folder, name)
        reporter.line(f"{folder.path} has forgotten {name!r}; it knows {count} classes")
        return
    pictures = find_pictures(paths or [], note=lambda text: reporter.line(f"note: {text}"))
    count = enrollment.enroll(folder, name, pictures, reporter)
    reporter.line(f"{folder.path} has learnt {len(pictures)} images of {name!r}; it knows {count} classes")
