"""What is written of runs: the web page, the model for the hub."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fgvc_cli.api.place import RunLike, folder_of
from fgvc_cli.api.runs.evaluation import request_of
from fgvc_cli.files import expanded
from fgvc_cli.hub.names import hub_name
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.spec.flags import checked_flags
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    from fgvc_cli.report.page import Written as Page

_Path = str | os.PathLike[str]
_OF_REPORT = ("split", "device", "batch_size", "precision", "data_dir", "name", "unknown_classes")
_PICTURES, _PICTURES_OF_SEVERAL = 48, 24


def report(
    runs: Sequence[RunLike],
    out: _Path | None,
    flags: Mapping[str, Any],
    *,
    sample: int | None = None,
    force: bool = False,
    progress: bool = True,
) -> Page:
    """See `Run.report`."""
    request = request_of(checked_flags(flags, _OF_REPORT, "report"))
    folders = [folder_of(run) for run in runs]
    with quick_imports():
        from fgvc_cli.report.page import write_report

    console = Console(stderr=True, quiet=not progress)
    pictures = _PICTURES if len(folders) == 1 else _PICTURES_OF_SEVERAL
    number = pictures if sample is None else sample
    to = None if out is None else expanded(out)
    written = write_report(folders, to, request, console, sample=number, force=force)
    for notice in written.notices:
        console.note(notice)
    return written


def push(
    run: RunLike,
    name: str,
    *,
    private: bool = False,
    picture: Sequence[_Path] = (),
    licence: str | None = None,
    out: _Path | None = None,
    progress: bool = True,
) -> str:
    """See `Run.push`."""
    hub_name(name)  # reports a wrong name before PyTorch is loaded
    folder = folder_of(run)
    with quick_imports():
        from fgvc_cli.share.push import PushRequest, push

    pictures = [expanded(file) for file in picture]
    request = PushRequest(name, private, pictures, licence, None if out is None else expanded(out))
    return push(folder, request, Console(stderr=True, quiet=not progress))
