"""The user's images in a folder: what every command reads when a folder is named.

Passed over are hidden and system files and folders (`names.py`), what fgvc itself wrote (run folders, its cache, the
demo, pictures of `fgvc viz`), and, unless asked for, linked folders.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

from fgvc_cli.data.catalog import CACHE_NAME, cache_home
from fgvc_cli.data.images.names import has_image_ending, is_passed_over
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import read_text
from fgvc_cli.values import parse

RUN_FILE = "run.json"  # every run folder holds it
_PICTURES = "manifest.json"  # lists the pictures that `fgvc viz` wrote into a folder
_DEMO = ("demo-v", "annotations.json")


@dataclass
class Listing:
    """What lies in a folder; paths relative to its root, `/` between folders."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # files that are no images
    links: list[str] = field(default_factory=list)  # linked folders that were not read
    own: list[str] = field(default_factory=list)  # folders and pictures that fgvc wrote

    def add(self, other: Listing) -> None:
        """Take in what lies in another folder."""
        for name, paths in vars(other).items():
            getattr(self, name).extend(paths)


def list_images(root: Path, folder: str = "", *, follow_links: bool = False) -> Listing:
    """The images in root/folder and in all folders below it, sorted.

    Args:
        root: the folder that was named. It is read even if its own name or content would have it passed over.
        folder: relative to root; "" is root itself.
        follow_links: also read linked folders. Each folder is read once, so links may form loops; a link to a folder
            that the link lies in is never read.

    Raises:
        BadRequest: a folder cannot be listed.
    """
    found, seen = Listing(), set[str]()
    waiting, linked = [folder], deque[str]()
    while waiting or linked:
        is_link = not waiting
        place = linked.popleft() if is_link else waiting.pop()
        here = root / place
        if place and (is_link or place == folder) and leads_up(here):
            found.links.append(place)
            continue
        if follow_links:
            real = os.path.realpath(here)
            if real in seen:
                found.links.extend([place] if is_link else [])
                continue
            seen.add(real)
        folders, links = _read(here, place, found)
        waiting += folders
        (linked if follow_links else found.links).extend(links)
    for paths in vars(found).values():
        paths.sort()
    return found


def _read(here: Path, place: str, found: Listing) -> tuple[list[str], list[str]]:
    """Sort the files of the folder `place`, relative to the root, into `found`. Returns its folders and linked ones."""
    entries = _entries(here)
    names = {entry.name for entry in entries}
    if place and is_own(here, names):
        found.own.append(place)
        return [], []
    drawn = _pictures(here) if _PICTURES in names else set()
    prefix = f"{place}/" if place else ""
    folders, links = [], []
    for entry in entries:
        name = entry.name
        if is_passed_over(name):
            continue
        if entry.is_dir(follow_symlinks=False):
            folders.append(prefix + name)
        elif entry.is_symlink() and is_folder(entry):
            links.append(prefix + name)
        elif name in drawn:
            found.own.append(prefix + name)
        else:
            (found.images if has_image_ending(name) else found.others).append(prefix + name)
    return folders, sorted(links)


def folders_in(folder: Path) -> list[str]:
    """The names of the folders right in a folder, linked ones too, sorted; hidden and system ones are passed over."""
    return sorted(entry.name for entry in _entries(folder) if not is_passed_over(entry.name) and is_folder(entry))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one. A link that leads nowhere or to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def leads_up(path: Path) -> bool:
    """Whether a path is a link to a folder that the link lies in."""
    if not path.is_symlink():
        return False
    target, home = Path(os.path.realpath(path)), Path(os.path.realpath(path.parent))
    return target == home or target in home.parents


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise BadRequest(f"{folder}: cannot be listed ({error.strerror})") from None


def is_own(folder: Path, names: Set[str] | None = None) -> bool:
    """Whether fgvc wrote this folder: a run (its lock alone if it is just beginning), its cache or the demo.

    `names`: the names of its entries, if the folder was listed already.
    """
    names = {entry.name for entry in _entries(folder)} if names is None else names
    if RUN_FILE in names or names == {".lock"}:
        return True
    if folder.name.startswith(_DEMO[0]) and _DEMO[1] in names:
        return True
    return folder.name == CACHE_NAME and folder.resolve() == cache_home().resolve()


def _pictures(folder: Path) -> set[str]:
    """The names of the pictures that `fgvc viz` wrote into a folder; empty if another program wrote the manifest."""
    try:
        entries = parse(read_text(folder / _PICTURES))["pictures"]
        return {_PICTURES, *(str(entry["file"]) for entry in entries)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def passed_over_notes(root: Path, found: Listing, *, follow_links: bool) -> tuple[str, ...]:
    """Notes about linked folders and fgvc's own files that were passed over."""
    notes = []
    if found.links:
        first = found.links[0]
        target = (root / first).readlink()
        count = len(found.links)
        many = "a linked folder is" if count == 1 else f"{count} linked folders are"
        why = "it is read already" if follow_links else "--follow-links reads such folders"
        notes.append(f"{many} passed over (first: {first} -> {target}); {why}")
    if found.own:
        notes.append(f"what fgvc itself wrote is passed over (first: {found.own[0]})")
    return tuple(notes)
