"""A user's own images: one folder a class, in train/val/test folders or all in one that is split here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fgvc_cli.data.images import is_image_name
from fgvc_cli.data.splits import hold_out
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DataSpec

VAL_NAMES = ("val", "valid", "validation")
SPLIT_NAMES = ("train", "test", *VAL_NAMES)
_NOT_DATA = ("__MACOSX", "@eaDir")  # left behind by archives and by network storage


@dataclass
class _Found:
    """Images by class, paths relative to the root; files that are no images."""

    images: dict[str, list[str]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of an image folder. BadRequest, one line, for a folder that cannot be trained on."""
    root = _root(spec)
    folders = _folders(root)
    if not folders:
        raise BadRequest(f"{root}: holds no folders; put the images of each class into a folder of its own")
    index = _with_splits(root, folders, spec) if _is_split(folders) else _drawn(root, _scan(root, ""), spec, "")
    if not len(index.test):
        each = "is one group" if spec.group_by else "has one image"
        raise BadRequest(
            f"{root}: nothing is left for testing, since each class {each} only; add images or a test folder"
        )
    return index


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts names as people do: 2 before 10."""
    words = re.split(r"([0-9]+)", name)
    return [(1, int(word), "") if i % 2 else (2, 0, word.casefold()) for i, word in enumerate(words) if word], name


def _root(spec: DataSpec) -> Path:
    if spec.root is None:
        raise BadRequest("the dataset `folder` needs --data-dir FOLDER, a folder with one folder of images per class")
    root = spec.root.expanduser()
    if not root.is_dir():
        raise BadRequest(f"{root}: {'is no folder' if root.exists() else 'does not exist'}; --data-dir names it")
    return root


def _is_split(folders: Sequence[str]) -> bool:
    """Whether these are splits: train with another one or alone. Else `train` is a class, like bus and tram."""
    names = {name.lower() for name in folders}
    return "train" in names and (len(names) == 1 or len(names.intersection(SPLIT_NAMES)) > 1)


def _with_splits(root: Path, folders: Sequence[str], spec: DataSpec) -> DatasetIndex:
    """Layout train/ with val/, test/ or both; train/ alone is split."""
    by_name: dict[str, _Found] = {}
    for folder in folders:
        name = "val" if folder.lower() in VAL_NAMES else folder.lower()
        if name in SPLIT_NAMES:
            if name in by_name:
                raise BadRequest(f"{root}: holds two folders for the {name} split; keep one of them")
            by_name[name] = _scan(root, folder)
    train, val, test = by_name["train"], by_name.get("val"), by_name.get("test")
    other = [folder for folder in folders if folder.lower() not in SPLIT_NAMES]
    notes: tuple[str, ...] = (f"folders beside train/ are not used: {', '.join(other)}",) if other else ()
    if test is None and val is None:
        return _drawn(root, train, spec, "train", notes)
    if test is None:
        test, val = val, None
        notes += ("there is no test folder: the validation folder is the test split",)
    assert test is not None
    if val is not None and spec.val_fraction:
        notes += ("the validation folder is used, so val_fraction holds nothing out",)
    classes = _classes(root, train)
    return DatasetIndex(
        name="folder",
        root=root,
        classes=classes,
        train=_split(root, train, classes, "train"),
        test=_split(root, test, classes, "test"),
        val=None if val is None else _split(root, val, classes, "val"),
        notes=notes + _ignored_note([found for found in (train, val, test) if found is not None]),
    )


def _drawn(root: Path, found: _Found, spec: DataSpec, folder: str, notes: tuple[str, ...] = ()) -> DatasetIndex:
    """One folder of classes, split here."""
    classes = _classes(root, found)
    whole = _split(root, found, classes, "class")
    kept, held = hold_out(root, whole, classes, spec.test_fraction, spec)
    where = f"{folder}/ alone" if folder else "one folder"
    how = "class, group and seed" if spec.group_by else "class and seed"
    notes += (f"the images are in {where}: {len(held)} of {len(whole)} are held out for testing, by {how}",)
    lonely = [classes[label] for label in np.flatnonzero(np.bincount(whole.labels, minlength=len(classes)) == 1)]
    if lonely:
        notes += (f"{len(lonely)} classes have one image only and are not tested (first: {lonely[0]})",)
    return DatasetIndex(
        name="folder",
        root=root,
        classes=classes,
        train=whole.take(kept),
        test=whole.take(held),
        drawn=True,
        notes=notes + _ignored_note([found]),
    )


def _classes(root: Path, found: _Found) -> tuple[str, ...]:
    """The classes of the training images, sorted naturally. BadRequest for an empty one, or fewer than two."""
    for name, files in found.images.items():
        if not files:
            raise BadRequest(f"{root}: the class folder {name!r} holds no images; fill or remove it")
    if len(found.images) < 2:
        names = "".join(f" ({name})" for name in found.images)
        raise BadRequest(f"{root}: holds {len(found.images)} class folder{names}; a classifier needs two at least")
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
    return (f"{len(ignored)} files that are no images are ignored (first: {ignored[0]})",) if ignored else ()


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not _is_hidden(entry.name) and entry.is_dir())
    except OSError as error:
        raise BadRequest(f"{folder}: cannot be listed ({error.strerror})") from None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _NOT_DATA


def _scan(root: Path, folder: str) -> _Found:
    """All images below each class folder of root/folder."""
    found = _Found()
    prefix = f"{folder}/" if folder else ""
    for name in _folders(root / folder):
        files: list[str] = []
        _collect(root / folder / name, f"{prefix}{name}/", files, found.ignored)
        found.images[name] = sorted(files)
    return found


def _collect(folder: Path, prefix: str, files: list[str], ignored: list[str]) -> None:
    """Images of a folder and the folders in it; a linked folder in it is not entered, since links can go round."""
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
