"""Share models on the Hugging Face hub from a program."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fgvc_cli.api.run import Run
from fgvc_cli.files import expanded
from fgvc_cli.hub.names import hub_name
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console

_Path = str | os.PathLike[str]


def push(
    run: Run | _Path,
    name: str,
    *,
    private: bool = False,
    picture: Sequence[_Path] = (),
    licence: str | None = None,
    out: _Path | None = None,
    progress: bool = True,
) -> str:
    """Send a finished run's model to the hub, with a model card, as `fgvc push` does.

    Args:
        run: a run or its folder.
        name: OWNER/NAME; the repository is made if there is none.
        private: make the repository private, if it is made now.
        picture: images that may be published, up to four: the card shows what the model looked at in them.
        licence: of the model, by the hub's identifier, such as apache-2.0.
        out: write the files into this new folder; nothing is sent.
        progress: show notes on stderr.

    Returns:
        The repository's address, or with `out` the folder.

    Raises:
        BadRequest: the name is none, the run is not finished, or the hub does not let this user write there.
        FgvcError: a file cannot be written, or the hub failed.
    """
    hub_name(name)
    folder = RunFolder.open(run.folder if isinstance(run, Run) else expanded(run))
    with quick_imports():
        from fgvc_cli.share.push import PushRequest, push

    pictures = [expanded(file) for file in picture]
    request = PushRequest(name, private, pictures, licence, None if out is None else expanded(out))
    return push(folder, request, Console(stderr=True, quiet=not progress))


def pull(name: str, out: _Path | None = None, *, progress: bool = True) -> Run:
    """Make a run folder of a model on the hub, as `fgvc pull` does. `load("hf://OWNER/NAME")` needs none.

    Args:
        name: OWNER/NAME, with @REVISION or without.
        out: the new folder; None: runs/NAME.
        progress: show notes on stderr.

    Raises:
        BadRequest: there is no such model, it is none of fgvc's, or the folder exists.
        FgvcError: it cannot be fetched or written.
    """
    hub_name(name)
    with quick_imports():
        from fgvc_cli.share.pull import pull

    note = Console(stderr=True, quiet=not progress).note
    return Run(pull(name, None if out is None else expanded(out), note).path)
