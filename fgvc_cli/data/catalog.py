"""Find the datasets on this machine, and say how to get one that is missing. Does not import PyTorch."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from fgvc_cli.data.facts import CATALOG, DatasetFacts
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded

DATA_DIR_VARIABLE = "FGVC_DATA_DIR"
CACHE_NAME = "fgvc"


def data_roots(root: Path | None) -> tuple[Path, ...]:
    """The folders searched for datasets, in order: `root` alone if given, else $FGVC_DATA_DIR, then ./data."""
    if root is not None:
        return (expanded(root),)
    variable = os.environ.get(DATA_DIR_VARIABLE)
    return (*((expanded(variable),) if variable else ()), Path("data"))


def cache_home() -> Path:
    """The folder for files that fgvc can make again: $XDG_CACHE_HOME/fgvc or ~/.cache/fgvc."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / CACHE_NAME


def locate(name: str, root: Path | None) -> Path | None:
    """The dataset's folder: one of `data_roots`, or a folder in it with a known name. None if there is none."""
    facts = CATALOG[name]
    names = ("", *facts.folders)
    return _holding(facts, [place / folder for place in data_roots(root) for folder in names])


def _holding(facts: DatasetFacts, folders: Sequence[Path]) -> Path | None:
    """The first of the folders that holds the dataset."""
    holders = (folder for folder in folders if any((folder / marker).exists() for marker in facts.markers))
    return next(holders, None)


def require(name: str, root: Path | None) -> Path:
    """Like `locate`, but `root` may also be a folder of the dataset, such as that of its images.

    BadRequest with the command that downloads the dataset if it is not found.
    """
    facts = CATALOG[name]
    found = locate(name, root)
    if found is None and root is not None and expanded(root).is_dir():
        found = _holding(facts, [expanded(root).absolute().parent])
    if found is not None:
        return found
    where = f" --root {shlex.quote(str(root))}" if root is not None else ""
    raise BadRequest(
        f"{facts.title} not found: no {facts.folders[0]} in {_listed(data_roots(root))}: "
        f"run `fgvc download-data {name}{where}`, or say where it is with --data-dir FOLDER or {DATA_DIR_VARIABLE}"
    )


def _listed(places: Sequence[Path]) -> str:
    return " or ".join(str(place) for place in places)
