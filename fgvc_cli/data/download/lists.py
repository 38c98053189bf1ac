"""Contradictions between a dataset's lists that do not prevent training, so that its loader does not report them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from fgvc_cli.data.facts import CATALOG
from fgvc_cli.data.formats.lists import read_lines, read_table

_BY_IMAGE = ("image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "sizes.txt", "parts/part_locs.txt")
_NAMED = 5  # problems named per list, since a list of another dataset differs in every line


def contradictions(name: str, folder: Path) -> list[str]:
    """The contradictions, with file and line. BadRequest if a list cannot be read."""
    check = _CHECKS.get(name)
    return list(check(folder)) if check else []


def _ids(folder: Path) -> Iterator[str]:
    """CUB and NABirds: lines about images that images.txt does not have."""
    images = read_table(folder / "images.txt")
    for file in _BY_IMAGE:
        path = folder / file
        strangers = (
            f"{path}:{line.number}: image {key} is not in images.txt, so a line is missing there or this one is wrong"
            for line in (read_lines(path) if path.is_file() else ())
            if (key := line.text.partition(" ")[0]) not in images
        )
        yield from _few(strangers)


def _aircraft(folder: Path) -> Iterator[str]:
    """The training and validation lists together equal the joint list; each level has the same images."""
    data = folder / "data" if (folder / "data").is_dir() else folder
    for level in ("variant", *CATALOG["aircraft"].levels):
        lists = {split: data / f"images_{level}_{split}.txt" for split in ("trainval", "train", "val")}
        if all(path.is_file() for path in lists.values()):
            whole, halves = _lines(lists["trainval"]), _lines(lists["train"]) | _lines(lists["val"])
            yield from _differences(whole, halves, lists["trainval"], "its two halves")
        for split in ("trainval", "test"):
            path, other = data / f"images_{level}_{split}.txt", data / f"images_variant_{split}.txt"
            if path.is_file() and other.is_file():
                yield from _differences(set(read_table(path)), set(read_table(other)), path, other.name)


def _differences(ours: set[str], theirs: set[str], path: Path, other: str) -> Iterator[str]:
    yield from _few(f"{path}: lacks {line!r}, which is in {other}" for line in sorted(theirs - ours))
    yield from _few(f"{path}: has {line!r}, which is not in {other}" for line in sorted(ours - theirs))


def _lines(path: Path) -> set[str]:
    return {line.text for line in read_lines(path)}


def _few(problems: Iterator[str]) -> Iterator[str]:
    """The first problems, and the number of the others."""
    for number, problem in enumerate(problems):
        if number == _NAMED:
            yield f"{problem.partition(': ')[0]}: and {1 + sum(1 for _ in problems)} more of this kind"
            return
        yield problem


_CHECKS: dict[str, Callable[[Path], Iterator[str]]] = {
    "cub": _ids,
    "nabirds": _ids,
    "aircraft": _aircraft,
}
