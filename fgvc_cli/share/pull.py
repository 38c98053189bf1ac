"""Take a shared model from the hub: only known files, checked before they are a run here; no code, no pickle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from fgvc_cli.data.catalog import cache_home
from fgvc_cli.errors import FgvcError
from fgvc_cli.files import make_parent, read_text, write_folder_atomically, write_text
from fgvc_cli.hub.client import Unreachable, fetch, listing
from fgvc_cli.hub.names import HubName, hub_name, is_hub_name
from fgvc_cli.runs.folder import RUNS, RunFolder
from fgvc_cli.share.contents import check_folder, chosen

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
    home = cache_home() / "hub" / name.owner / name.name
    last = home / "refs" / quote(name.revision or "main", safe="")
    try:
        commit, sizes = listing(name.repository, name.revision, str(name))
    except Unreachable as error:
        place = _kept(home, last, name)
        if place is None:
            raise FgvcError(f"{error}; what is fetched once can be used offline") from None
        note(f"{error}; what was fetched last is used")
        return place
    taken, left = chosen(sizes, str(name))
    place = home / commit / name.name
    if not place.is_dir():
        if left:
            note(f"{name}: left on the hub, as fgvc needs none of it: {', '.join(left[:3])}{', …' * (len(left) > 3)}")
        _fill(place, lambda folder: _take(name, commit, taken, folder))
    make_parent(last)
    write_text(last, commit)
    return place


def _kept(home: Path, last: Path, name: HubName) -> Path | None:
    """The folder of what was fetched last under a revision, or of a commit that is named whole."""
    try:
        commit = read_text(last).strip()
    except (OSError, UnicodeDecodeError):
        commit = name.revision or ""
    place = home / commit / name.name
    return place if commit and place.is_dir() else None


def _fill(place: Path, write: Callable[[Path], object]) -> None:
    make_parent(place)
    try:
        write_folder_atomically(place, write)
    except FgvcError:
        if not place.is_dir():  # else another process was faster
            raise


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


def _take(name: HubName, commit: str, files: list[str], folder: Path) -> None:
    """Fetch the files into a folder, and check what came."""
    for file in files:
        fetch(name.repository, file, commit, str(name), into=folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the library's own notes
    check_folder(folder, str(name))
