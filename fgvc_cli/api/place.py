"""Where a run or a model is that a program names. Nothing here imports torch."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TypeAlias

from fgvc_cli.files import expanded
from fgvc_cli.hub.names import is_hub_name
from fgvc_cli.runs.folder import RunFolder

RunLike: TypeAlias = str | os.PathLike[str]  # a folder, hf://OWNER/NAME, or a `Run`, which is a path too


def place_of(source: RunLike) -> Path:
    """The path of a run or a model; of hf://OWNER/NAME that of what was fetched."""
    if not is_hub_name(os.fspath(source)):
        return expanded(source)
    from fgvc_cli.share.pull import local  # its package loads torch

    return local(source, lambda text: warnings.warn(text, stacklevel=4))


def folder_of(source: RunLike) -> RunFolder:
    """The folder of a run. BadRequest if there is none."""
    return RunFolder.open(place_of(source))
