"""Take a shared model from the Hugging Face hub."""

from __future__ import annotations

import os

from fgvc_cli.api.run import Run
from fgvc_cli.files import expanded
from fgvc_cli.hub.names import hub_name
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.terminal import Console


def pull(name: str, out: str | os.PathLike[str] | None = None, *, progress: bool = True) -> Run:
    """Make a run folder of a model on the hub, as `fgvc pull` does. `load("hf://OWNER/NAME")` needs none.

    Args:
        name: OWNER/NAME, with @REVISION or without.
        out: the new folder; None: runs/NAME.
        progress: show notes and progress on stderr.

    Raises:
        BadRequest: there is no such model, it is none of fgvc's, or the folder exists.
        FgvcError: it cannot be fetched or written.
    """
    hub_name(name)  # reports a wrong name before PyTorch is loaded
    with quick_imports():
        from fgvc_cli.share.pull import pull

    note = Console(stderr=True, quiet=not progress).note
    return Run(pull(name, None if out is None else expanded(out), note).path)
