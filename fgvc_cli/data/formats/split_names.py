"""The names that people give to splits, of folders and in tables: train, Training, test_set, seg_train, train2017."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

_EVAL = "eval"  # the test split of some, the validation split of others
_SPELLINGS = {
    "train": ("train", "training", "trainval", "trn"),
    "val": ("val", "valid", "validation", "validate", "dev", "devel", "development"),
    "test": ("test", "testing", "tests", "tst"),
    _EVAL: ("eval", "evaluation"),
}
_KIND = {word: kind for kind, words in _SPELLINGS.items() for word in words}
_FILLERS = ("set", "sets", "data", "dataset", "split", "images", "image", "imgs", "img", "photos", "folder", "dir")
_GLUED = re.compile(f"({'|'.join(_KIND)})({'|'.join(_FILLERS)})")  # trainset, testdata


class Spelling(NamedTuple):
    """What a name says: the kind of split, and its other words."""

    kind: str
    rest: tuple[str, ...]


@lru_cache(maxsize=65536)
def spelling(name: str) -> Spelling | None:
    """What a name says of a split; None if it names none. Case, separators and words like `set` do not matter."""
    words: list[str] = []
    for word in re.findall(r"[^\W\d_]+|\d+", name.casefold()):
        glued = _GLUED.fullmatch(word)
        words += [glued[1]] if glued else [word]
    kinds = [word for word in words if word in _KIND]
    if len(kinds) != 1:
        return None
    return Spelling(_KIND[kinds[0]], tuple(word for word in words if word not in kinds and word not in _FILLERS))


def settled(kinds: Mapping[str, str]) -> dict[str, str]:
    """Name → train, val or test, from name → kind. `eval` is the test split if there is no other, else validation."""
    evaluation = "val" if "test" in kinds.values() else "test"
    return {name: evaluation if kind == _EVAL else kind for name, kind in kinds.items()}


def splits_among(folders: Iterable[str]) -> dict[str, str]:
    """Folder → split, for folders that are splits: a training folder alone, or with one for another split.

    The names must agree in their other words, as cars_train and cars_test do. Empty if the folders are classes: then
    `train` is one, like bus and tram.
    """
    folders = list(folders)
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for folder in folders:
        said = spelling(folder)
        if said:
            groups.setdefault(said.rest, {})[folder] = said.kind
    fitting = [
        group
        for group in groups.values()
        if "train" in group.values() and (len(folders) == 1 or len(set(group.values())) > 1)
    ]
    return settled(fitting[0]) if len(fitting) == 1 else {}


def look_like_splits(folders: Iterable[str]) -> list[str]:
    """The folders whose names say a split and nothing else but a number, if they say two splits or more; else none."""
    said = {folder: spelling(folder) for folder in folders}
    plain = {name: what.kind for name, what in said.items() if what and all(word.isdecimal() for word in what.rest)}
    return sorted(plain) if len(set(plain.values())) > 1 else []
