"""Take a shared model from the hub: only known files, checked before they are a run here; no code, no pickle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from fgvc_cli.data.catalog import cache_home
from fgvc_cli.errors import FgvcError
from fgvc_cli.files import make_parent, write_folder_atomically
from fgvc_cli.hub.client import Unreachable, fetch, listing
from fgvc_cli.hub.names import HubName, hub_name, is_hub_name
from fgvc_cli.runs.folder import RUNS, RunFolder
from fgvc_cli.share.contents import LIMITS, MODEL, check_folder, chosen

Note = Callable[[str], object]


def local(path: str | os.PathLike[str], note: Note = lambda text: None) -> Path:
    """A path as it is; for hf://OWNER/NAME the folder of that model in fgvc's cache folder, fetched if it is not there.

    Raises:
        BadRequest: there is no such model on the hub, or it is none of fgvc's.
        FgvcError: it cannot be fetched.
    """
    text = os.fspath(path)
    return cached(hub_name(text), note) if is_hub_name(text) else Path(path)


def cached(name: HubName, note: Note) -> Path:
    """The folder of a model in fgvc's cache folder, of what the hub has now; offline, of what was fetched last."""
    try:
        commit, sizes = listing(name.repository, name.revision, str(name))
        taken, left = chosen(sizes, str(name))
    except Unreachable as error:
        commit, taken, left = _fetched_before(name, error), list(LIMITS), []
        note(f"{error}; what was fetched before is used")
    place = cache_home() / "hub" / name.owner / commit / name.name
    if place.is_dir():
        return place
    if left:
        note(f"{name}: not needed, so not fetched: {', '.join(left[:3])}{', …' if len(left) > 3 else ''}")
    make_parent(place)
    try:
        write_folder_atomically(place, lambda folder: _take(name, commit, taken, folder))
    except FgvcError:
        if not place.is_dir():  # else another process was faster
            raise
    return place


def pull(text: str, out: Path | None, note: Note) -> RunFolder:
    """Make a run folder of a model on the hub.

    Args:
        text: OWNER/NAME or hf://OWNER/NAME, with @REVISION or without.
        out: the new folder; None: runs/NAME.
        note: told what the user should know.

    Raises:
        BadRequest: there is no such model, it is none of fgvc's, or the folder exists.
        FgvcError: it cannot be fetched or written.
    """
    name = hub_name(text)
    run = RunFolder.unused(out or RUNS / name.name)
    kept = cached(name, note)
    make_parent(run.path)
    write_folder_atomically(run.path, lambda folder: shutil.copytree(kept, folder, dirs_exist_ok=True))
    return run


def _fetched_before(name: HubName, error: FgvcError) -> str:
    """The commit of what was fetched last. The error itself if nothing was."""
    file = fetch(name.repository, MODEL, name.revision, str(name), local=True)
    if file is None:
        raise FgvcError(f"{error}; what is fetched once can be used offline") from None
    return file.parent.name


def _take(name: HubName, commit: str, files: list[str], folder: Path) -> None:
    """Copy the files into a folder, and check what came."""
    for file in files:
        found = fetch(name.repository, file, commit, str(name))
        if found is not None:
            (folder / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(found, folder / file)  # the library's own is a link
    check_folder(folder, str(name))
