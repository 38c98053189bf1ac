"""What is written of runs: the web page, the exported file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fgvc_cli.api.evaluation import request_of
from fgvc_cli.files import expanded
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.flags import checked_flags
from fgvc_cli.terminal import Console

_Path = str | os.PathLike[str] | None
_OF_REPORT = ("split", "device", "batch_size", "precision", "data_dir", "name", "unknown_classes")
_OF_EXPORT = ("format", "precision", "dynamic_batch", "evidence", "images", "check", "calibration", "max_loss")
_PICTURES, _PICTURES_OF_SEVERAL = 48, 24


def report(
    folders: Sequence[Path], out: _Path, sample: int | None, force: bool, progress: bool, flags: Mapping[str, Any]
) -> Path:
    """See `Run.report`."""
    request = request_of(checked_flags(flags, _OF_REPORT, "report"))
    with quick_imports():
        from fgvc_cli.report.page import write_report

    console = Console(stderr=True, quiet=not progress)
    written = write_report(
        [RunFolder.open(folder) for folder in folders],
        None if out is None else expanded(out),
        request,
        console,
        sample=pictures_in(len(folders)) if sample is None else sample,
        force=force,
    )
    for notice in written.notices:
        console.note(notice)
    return written.file


def pictures_in(runs: int) -> int:
    """Pictures of each run on a page about so many."""
    return _PICTURES if runs == 1 else _PICTURES_OF_SEVERAL


def export(folder: Path, out: _Path, progress: bool, flags: Mapping[str, Any]) -> Path:
    """See `Run.export`."""
    found = checked_flags(flags, _OF_EXPORT, "export")
    with quick_imports():
        from fgvc_cli.export.export import ExportRequest, export_run

    lists: dict[str, Any] = {key: tuple(map(str, found[key])) for key in ("images", "calibration") if key in found}
    request = ExportRequest(out=None if out is None else expanded(out), **found | lists)
    return export_run(folder, request, Console(stderr=True, quiet=not progress)).file
