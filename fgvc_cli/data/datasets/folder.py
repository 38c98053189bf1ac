"""A user's own images, one folder per class: in train/val/test folders, or in a single folder that fgvc splits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fgvc_cli.data.formats.own import SPLIT_OF, Own, natural_key, own_index
from fgvc_cli.data.images.read import is_image_name
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DataSpec

_NOT_DATA = ("__MACOSX", "@eaDir")  # left behind by archives and by network storage


@dataclass
class _Found:
    """Images by class, and files that are not images; paths relative to the root."""

    images: dict[str, list[str]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of an image folder. BadRequest, one line, if it cannot be trained on."""
    root = _root(spec)
    folders = _folders(root)
    if not folders:
        raise BadRequest(f"{root}: holds no folders; put the images of each class into a folder of its own")
    own = _split_folders(root, folders) if _is_split(folders) else _own(root, {"train": _scan(root, "")}, "one folder")
    return own_index(own, spec)


def _root(spec: DataSpec) -> Path:
    if spec.root is None:
        raise BadRequest("the dataset `folder` needs --data-dir FOLDER, a folder with one folder of images per class")
    root = spec.root.expanduser()
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        hint = "; for a CSV file use --dataset csv" if root.suffix.lower() in (".csv", ".tsv") else ""
        raise BadRequest(f"{root}: {what}; --data-dir must name a folder of images{hint}")
    return root


def _is_split(folders: Sequence[str]) -> bool:
    """Whether these are splits: `train` alone or with another split. Else `train` is a class, like bus and tram."""
    names = {name.lower() for name in folders}
    return "train" in names and (len(names) == 1 or len(names.intersection(SPLIT_OF)) > 1)


def _split_folders(root: Path, folders: Sequence[str]) -> Own:
    """The layout train/, alone or with val/, test/ or both."""
    found: dict[str, _Found] = {}
    for folder in folders:
        name = SPLIT_OF.get(folder.lower())
        if name in found:
            raise BadRequest(f"{root}: holds two folders for the {name} split; keep one of them")
        if name is not None:
            found[name] = _scan(root, folder)
    other = [folder for folder in folders if folder.lower() not in SPLIT_OF]
    note = (f"folders beside train/ are not used: {', '.join(other)}",) if other else ()
    return _own(root, found, "train/ alone", note)


def _own(root: Path, found: dict[str, _Found], where: str, notes: tuple[str, ...] = ()) -> Own:
    """The images, with the splits that were found."""
    classes = _classes(root, found["train"])
    splits = {name: _split(root, part, classes, name) for name, part in found.items()}
    notes += _ignored_note(list(found.values()))
    return Own("folder", root, root, classes, splits, where, "folder", notes)


def _classes(root: Path, found: _Found) -> tuple[str, ...]:
    """The classes of the training images, in natural order. BadRequest for an empty class, or for fewer than two."""
    for name, files in found.images.items():
        if not files:
            raise BadRequest(f"{root}: the class folder {name!r} holds no images; fill or remove it")
    if len(found.images) < 2:
        names = "".join(f" ({name})" for name in found.images)
        raise BadRequest(f"{root}: holds {len(found.images)} class folder{names}; a classifier needs at least two")
    return tuple(sorted(found.images, key=natural_key))


def _split(root: Path, found: _Found, classes: tuple[str, ...], split: str) -> Split:
    label_of = {name: label for label, name in enumerate(classes)}
    for name in found.images:
        if name not in label_of:
            raise BadRequest(f"{root}: class {name!r} is in the {split} folder but has no training images")
    pairs = [(file, label_of[name]) for name in classes for file in found.images.get(name, ())]
    if not pairs:
        raise BadRequest(f"{root}: the {split} folder holds no images in class folders; fill or remove it")
    return Split(tuple(file for file, _ in pairs), np.array([label for _, label in pairs], dtype=np.int64))


def _ignored_note(found: Sequence[_Found]) -> tuple[str, ...]:
    ignored = [file for part in found for file in part.ignored]
    return (f"{len(ignored)} files that are not images are ignored (first: {ignored[0]})",) if ignored else ()


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not _is_hidden(entry.name) and entry.is_dir())
    except OSError as error:
        raise BadRequest(f"{folder}: cannot be listed ({error.strerror})") from None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _NOT_DATA


def _scan(root: Path, folder: str) -> _Found:
    """All images in each class folder of root/folder, at any depth."""
    found = _Found()
    prefix = f"{folder}/" if folder else ""
    for name in _folders(root / folder):
        files: list[str] = []
        _collect(root / folder / name, f"{prefix}{name}/", files, found.ignored)
        found.images[name] = sorted(files)
    return found


def _collect(folder: Path, prefix: str, files: list[str], ignored: list[str]) -> None:
    """Collect the images of a folder and its subfolders. Linked subfolders are skipped, since links can form cycles."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_hidden(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    _collect(Path(entry.path), f"{prefix}{entry.name}/", files, ignored)
                else:
                    (files if is_image_name(entry.name) else ignored).append(prefix + entry.name)
    except OSError as error:
        raise BadRequest(f"{folder}: cannot be listed ({error.strerror})") from None
