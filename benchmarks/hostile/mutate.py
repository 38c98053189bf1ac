"""Random damage to bytes, to JSON and to files, reproducible from a random generator."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

_WORDS = (
    b"\0",
    b"\xff",
    b"\r\n",
    b"\x1b[2J",
    b"[/]",
    b"=1+1",
    b"-1",
    b"1e308",
    b"nan",
    b"9" * 25,
    b'"',
    b",",
    b"../../outside/x",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    "",
    "x",
    "../../outside/x",
    "/dev/zero",
    "[/]\x1b[2J",
    "caf\udce9",
    "a\0b",
    "x" * 300,
    0,
    -1,
    3,
    10**25,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    {"name": "x"},
    [1, 2, 3],
)


def some_bytes(dice: random.Random, data: bytes) -> bytes:
    """One to four changes: bits, cuts, ranges that are deleted or repeated, words that are put in."""
    for _ in range(dice.choice((1, 1, 2, 4))):
        place = dice.randrange(len(data) + 1)
        length = min(len(data) - place, dice.choice((1, 2, 8, 64, 1024)))
        match dice.randrange(6):
            case 0 if length:
                changed = data[place] ^ (1 << dice.randrange(8))
                data = data[:place] + bytes([changed]) + data[place + 1 :]
            case 1:
                data = data[:place]
            case 2:
                data = data[:place] + data[place + length :]
            case 3:
                data = data[: place + length] + data[place:]
            case 4:
                data = data[:place] + dice.choice(_WORDS) + data[place + dice.choice((0, length)) :]
            case _:
                data = data[:place] + dice.randbytes(length) + data[place + length :]
    return data


def some_json(dice: random.Random, tree: Any) -> Any:
    """One value somewhere in a tree of dicts and lists replaced, removed, renamed, repeated or nested deeply."""
    places = list(_places(tree))
    if not places:
        return dice.choice(VALUES)
    parent, key = dice.choice(places)
    match dice.randrange(8):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[dice.choice(("x", "", "../x", "caf\udce9", "[/]"))] = parent.pop(key)
        case 2 if isinstance(parent, list):
            parent.extend([parent[key]] * dice.choice((1, 100)))
        case 3:
            for _ in range(dice.choice((2, 1_500))):
                parent[key] = [parent[key]]
        case _:
            parent[key] = dice.choice(VALUES)
    return tree


def _places(tree: Any) -> Any:
    """(container, key) of every value in a tree."""
    for key, value in list(
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    ):
        yield tree, key
        yield from _places(value)


def json_text(tree: Any) -> str:
    """JSON of a tree that may be nested deeper than Python's json module writes."""
    try:
        return json.dumps(tree)
    except RecursionError:
        return "[" * 3_000 + "]" * 3_000


def some_file(dice: random.Random, file: Path) -> None:
    """Damage a file in place: its bytes, its JSON, or what it is (gone, empty, a folder, a pipe, a link)."""
    kind = dice.randrange(10)
    tree = _tree(file) if kind < 4 and file.suffix == ".json" else None
    if tree is not None:
        file.write_text(json_text(some_json(dice, tree)), encoding="utf-8", errors="replace")
    elif kind < 8:
        file.write_bytes(some_bytes(dice, file.read_bytes()))
    else:
        _another_kind(dice, file)


def _tree(file: Path) -> Any:
    """The content of a JSON file; None if it is damaged already."""
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None


def _another_kind(dice: random.Random, file: Path) -> None:
    file.unlink()
    match dice.randrange(6):
        case 0:
            file.write_bytes(b"")
        case 1:
            file.mkdir()
        case 2:
            os.mkfifo(file)
        case 3:
            file.symlink_to(file.name)
        case 4:
            file.symlink_to(Path("/dev") / dice.choice(("zero", "full", "null")))
        case _:
            pass  # it is gone


def copied(source: Path, target: Path) -> Path:
    """A copy of a folder or a file, to damage."""
    if source.is_dir():
        return Path(shutil.copytree(source, target))
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, target))
