"""Contradictions between a dataset's lists that do not keep it from being trained on, so that its loader is silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from fgvc_cli.data.datasets.common import read_lines, read_table
from fgvc_cli.data.facts import CATALOG

_BY_IMAGE = ("image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "sizes.txt", "parts/part_locs.txt")
_NAMED = 5  # a list that is another dataset's differs in every line


def contradictions(name: str, folder: Path) -> list[str]:
    """What the lists say against each other, with file and line. BadRequest where one cannot be read."""
    look = _LOOKS.get(name)
    return list(look(folder)) if look else []


def _ids(folder: Path) -> Iterator[str]:
    """CUB and NABirds: lines about images that images.txt does not have."""
    images = read_table(folder / "images.txt")
    for file in _BY_IMAGE:
        path = folder / file
        strangers = (
            f"{path}:{line.number}: image {key} is not in images.txt, so its line there is lost or this one too many"
            for line in (read_lines(path) if path.is_file() else ())
            if (key := line.text.partition(" ")[0]) not in images
        )
        yield from _few(strangers)


def _aircraft(folder: Path) -> Iterator[str]:
    """The list of training and validation images is the two lists together, at each level."""
    data = folder / "data" if (folder / "data").is_dir() else folder
    for level in ("variant", *CATALOG["aircraft"].levels):
        both, *halves = (data / f"images_{level}_{split}.txt" for split in ("trainval", "train", "val"))
        if not all(path.is_file() for path in (both, *halves)):
            continue
        whole = _lines(both)
        parts = {line: path for path in halves for line in _lines(path)}
        yield from _few(f"{parts[line]}: {line!r} is not in {both.name}" for line in sorted(parts.keys() - whole))
        yield from _few(f"{both}: {line!r} is in neither half of it" for line in sorted(whole - parts.keys()))


def _pets(folder: Path) -> Iterator[str]:
    """Each image of list.txt is in one of the two splits, and the other way round."""
    lists = folder / "annotations"
    if not (lists / "list.txt").is_file():
        return
    all_of, split = (
        {line.text for file in files for line in read_lines(lists / file) if not line.text.startswith("#")}
        for files in (("list.txt",), ("trainval.txt", "test.txt"))
    )
    yield from _few(f"{lists / 'list.txt'}: {line!r} is in no split" for line in sorted(all_of - split))
    yield from _few(f"{lists / 'list.txt'}: lacks {line!r}, which is in a split" for line in sorted(split - all_of))


def _lines(path: Path) -> set[str]:
    return {line.text for line in read_lines(path)}


def _few(problems: Iterator[str]) -> Iterator[str]:
    """The first of them, and how many there are besides."""
    for number, problem in enumerate(problems):
        if number == _NAMED:
            yield f"{problem.partition(': ')[0]}: and {1 + sum(1 for _ in problems)} more of this kind"
            return
        yield problem


_LOOKS: dict[str, Callable[[Path], Iterator[str]]] = {
    "cub": _ids,
    "nabirds": _ids,
    "aircraft": _aircraft,
    "pets": _pets,
}
