"""A user's own images, one folder per class: in train/val/test folders, or in a single folder that fgvc splits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fgvc_cli.data.alike import Alike
from fgvc_cli.data.formats.class_names import ClassNames, class_names
from fgvc_cli.data.formats.own import Own, own_index
from fgvc_cli.data.formats.split_names import look_like_splits, settled, spelling, splits_among
from fgvc_cli.data.images.listing import RUN_FILE, Listing, folders_in, list_images, passed_over_notes
from fgvc_cli.data.labelled import Labelled
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded
from fgvc_cli.spec.data import DataSpec

_SAY = "name the splits train, val and test, or say which they are with --train-dir and --test-dir"


@dataclass
class _Part:
    """The images of one split by class folder, and what else lies there; paths relative to the root."""

    images: dict[str, list[str]] = field(default_factory=dict)
    rest: Listing = field(default_factory=Listing)


def load(spec: DataSpec, progress: object = None) -> DatasetIndex:
    """The index of an image folder. BadRequest, one line, if it cannot be trained on."""
    root = _root(spec)
    if spec.split_dirs:
        return own_index(_named(root, spec), spec)
    folders = folders_in(root)
    if not folders:
        raise BadRequest(f"{root}: holds no folders; put the images of each class into a folder of its own")
    splits = _splits(root, folders)
    own = _split_folders(root, folders, splits, spec) if splits else _one_folder(root, spec)
    return own_index(own, spec)


def labelled(spec: DataSpec, known: Alike) -> Labelled:
    """All images of a folder, with its class folders' names. BadRequest if it holds no class folder with images.

    Folders named like splits are splits, unless a folder beside them has one of the `known` classes' names.
    """
    root = _root(spec)
    folders = folders_in(root)
    splits = _places(folders, known)
    parts = [(split, _scan(root, _undoubled(root, name) if name else "", spec)) for name, split in splits.items()]
    found = [(file, name, split) for split, part in parts for name in part.images for file in part.images[name]]
    if not found:
        raise BadRequest(f"{root}: holds no images in class folders; put the images of each class into a folder")
    rest = Listing()
    for _, part in parts:
        rest.add(part.rest)
    other = [] if "" in splits else [folder for folder in folders if folder not in splits]
    beside = (f"folders beside {next(iter(splits))}/ are not used: {', '.join(other)}",) if other else ()
    notes = (*beside, *_ignored_note(rest), *passed_over_notes(root, rest, follow_links=spec.follow_links))
    files, classes, where = (tuple(column) for column in zip(*found, strict=True))
    return Labelled(root, root, files, classes, where, notes=notes)


def _places(folders: Sequence[str], known: Alike) -> dict[str, str]:
    """Folder → split; {"": ""}, the root in no split, if the folders are classes."""
    said = {} if any(map(known.find, folders)) else {folder: spelling(folder) for folder in folders}
    return settled({folder: what.kind for folder, what in said.items() if what}) or {"": ""}


def _root(spec: DataSpec) -> Path:
    if spec.root is None:
        raise BadRequest("the dataset `folder` needs --data-dir FOLDER, a folder with one folder of images per class")
    root = expanded(spec.root)
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        hint = "; for a CSV file use --dataset csv" if root.suffix.lower() in (".csv", ".tsv") else ""
        raise BadRequest(f"{root}: {what}; --data-dir must name a folder of images{hint}")
    if (root / RUN_FILE).is_file():
        raise BadRequest(f"{root}: is the folder of a run; --data-dir must name a folder of images")
    return root


# ---- which folders are splits


def _splits(root: Path, folders: Sequence[str]) -> dict[str, str]:
    """Folder → train, val or test; empty if the folders are classes. BadRequest if their names leave it open."""
    splits = splits_among(folders)
    trained = next((folder for folder, split in splits.items() if split == "train"), None)
    said = spelling(trained) if trained else None
    if trained and said and (not said.rest or folders_in(root / trained)):  # classes may be called `strength training`
        for split in set(splits.values()):
            named = [folder for folder in folders if splits.get(folder) == split]
            if len(named) > 1:
                raise BadRequest(f"{root}: holds two folders for the {split} split; keep one of them")
        return splits
    unclear = look_like_splits(folders)
    if unclear:
        which = f"{unclear[0]!r} and {unclear[1]!r}"
        are = "if they are classes: --train-dir ."
        raise BadRequest(f"{root}: {which} look like splits, not classes; {_SAY} ({are})")
    return {}


def _split_folders(root: Path, folders: Sequence[str], splits: Mapping[str, str], spec: DataSpec) -> Own:
    """The layout train/, alone or with val/, test/ or both."""
    found = {split: _scan(root, _undoubled(root, folder), spec) for folder, split in splits.items()}
    other = [folder for folder in folders if folder not in splits]
    note = (f"folders beside train/ are not used: {', '.join(other)}",) if other else ()
    return _own(root, found, "train/ alone", spec, note)


def _undoubled(root: Path, folder: str) -> str:
    """train/train if train holds nothing else, as archives that were packed twice have it; else the folder."""
    name = folder.rpartition("/")[2]
    inside = folders_in(root / folder)
    doubled = [inner for inner in inside if inner.casefold() == name.casefold()]
    return _undoubled(root, f"{folder}/{doubled[0]}") if doubled and len(inside) == 1 else folder


def _named(root: Path, spec: DataSpec) -> Own:
    """The splits whose folders the user named."""
    places = {split: Path(os.path.normpath(root.absolute() / name)) for split, name in spec.split_dirs.items()}
    for split, place in places.items():
        if not place.is_dir():
            raise BadRequest(f"--{split}-dir: {place} is not a folder; a relative path starts at --data-dir")
        for other, elsewhere in places.items():
            if other != split and place.is_relative_to(elsewhere):
                raise BadRequest(f"--{split}-dir: {place} lies in the folder of --{other}-dir; splits share no folder")
    base = Path(os.path.commonpath([root.absolute(), *places.values()]))
    parts = {split: _scan(base, _relative(place, base), spec) for split, place in places.items()}
    return _own(base, parts, "the training folder", spec)


def _relative(place: Path, base: Path) -> str:
    return "" if place == base else place.relative_to(base).as_posix()


def _one_folder(root: Path, spec: DataSpec) -> Own:
    """The layout without splits. It is in doubt if its folders hold the same folders, as splits hold the same classes.

    Whoever groups the images by folder has said what those are.
    """
    found = _scan(root, "", spec)
    own = _own(root, {"train": found}, "one folder", spec)
    return own if spec.group_by == "folder" else replace(own, doubt=_doubt(root, found))


def _doubt(root: Path, found: _Part) -> str | None:
    inside = {name: {file.split("/")[1] for file in files} for name, files in found.images.items() if _is_deep(files)}
    names = sorted(inside, key=lambda name: -len(inside[name]))
    for name in names[1:]:
        shared = inside[names[0]] & inside[name]
        if len(shared) > 1 and 2 * len(shared) > len(inside[name]):
            same = f"{names[0]!r} and {name!r} hold the same folders ({', '.join(sorted(shared)[:2])})"
            are = "if they are classes: --train-dir ., or --group-by folder"
            return f"{root}: {same} and look like splits, not classes; {_SAY} ({are})"
    return None


def _is_deep(files: Sequence[str]) -> bool:
    """Whether all images of a class folder lie in folders inside it."""
    return bool(files) and all(file.count("/") > 1 for file in files)


# ---- the images


def _scan(root: Path, folder: str, spec: DataSpec) -> _Part:
    """All images in each class folder of root/folder, at any depth.

    Folders that hold only what fgvc wrote, such as runs/, are no classes.
    """
    part = _Part()
    prefix = f"{folder}/" if folder else ""
    for name in folders_in(root / folder):
        found = list_images(root, prefix + name, follow_links=spec.follow_links)
        if found.images or not (found.own or prefix + name in found.links):
            part.images[name] = found.images
        found.images = []
        part.rest.add(found)
    return part


def _own(root: Path, found: dict[str, _Part], where: str, spec: DataSpec, notes: tuple[str, ...] = ()) -> Own:
    """The images, with the splits that were found."""
    named = _classes(root, found)
    splits = {name: _split(root, part, named, name) for name, part in found.items()}
    rest = Listing()
    for part in found.values():
        rest.add(part.rest)
    notes += named.notes + _ignored_note(rest) + passed_over_notes(root, rest, follow_links=spec.follow_links)
    return Own("folder", root, root, named.classes, splits, where, "folder", notes)


def _classes(root: Path, found: Mapping[str, _Part]) -> ClassNames:
    """The classes of the training images. BadRequest for an empty class, or for fewer than two."""
    trained = found["train"].images
    for name, files in trained.items():
        if not files:
            linked = any(link.split("/")[-2:-1] == [name] for link in found["train"].rest.links)
            hint = " (--follow-links reads its linked folders)" if linked else ""
            raise BadRequest(f"{root}: the class folder {name!r} holds no images{hint}; fill or remove it")
    named = class_names(trained, [name for part in found.values() for name in part.images])
    if len(named.classes) < 2:
        names = "".join(f" ({name})" for name in named.classes)
        raise BadRequest(f"{root}: holds {len(named.classes)} class folder{names}; a classifier needs at least two")
    return named


def _split(root: Path, found: _Part, named: ClassNames, split: str) -> Split:
    files: list[list[str]] = [[] for _ in named.classes]
    for name, inside in found.images.items():
        if name not in named.label_of:
            hint = named.hint(name)
            raise BadRequest(f"{root}: class {name!r} is in the {split} folder but has no training images{hint}")
        files[named.label_of[name]] += inside
    pairs = [(file, label) for label, inside in enumerate(files) for file in inside]
    if not pairs:
        raise BadRequest(f"{root}: the {split} folder holds no images in class folders; fill or remove it")
    return Split(tuple(file for file, _ in pairs), np.array([label for _, label in pairs], dtype=np.int64))


def _ignored_note(rest: Listing) -> tuple[str, ...]:
    if not rest.others:
        return ()
    many = f"{len(rest.others)} files that are not images are"
    return (f"{many if len(rest.others) > 1 else '1 file that is no image is'} ignored (first: {rest.others[0]})",)
