"""A model as one file that answers by itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgvc_cli.files import expanded
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.spec.flags import checked_flags
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    from fgvc_cli.export.export import Written

_FLAGS = ("format", "precision", "dynamic_batch", "evidence", "images", "check", "calibration", "max_loss")


def export(
    source: Path, out: str | os.PathLike[str] | None, flags: Mapping[str, Any], *, progress: bool = True
) -> Written:
    """See `Run.export`. `source`: a run's folder or a `model.safetensors`."""
    found = checked_flags(flags, _FLAGS, "export")
    with quick_imports():
        from fgvc_cli.export.export import ExportRequest, export_run

    lists: dict[str, Any] = {key: tuple(map(str, found.get(key) or ())) for key in ("images", "calibration")}
    request = ExportRequest(out=None if out is None else expanded(out), **found | lists)
    return export_run(source, request, Console(stderr=True, quiet=not progress))
