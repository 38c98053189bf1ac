"""A damaged cache costs time only: each file of it is checked, and what is wrong is made anew with the same content."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fgvc_cli.data.catalog import cache_home
from fgvc_cli.data.images import survey as surveying
from fgvc_cli.data.images.survey import survey
from fgvc_cli.data.loading.cache import Cache, Wanted, open_cache
from fgvc_cli.data.types import DatasetIndex, Split
from tests.data.small_archives import spec_of, write_image

COUNT = 6
FILES = ("pixels.npy", "sizes.npy", "about.json")


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def index(tmp_path: Path) -> DatasetIndex:
    for i in range(COUNT):
        write_image(tmp_path / "images" / f"{i}.png", width=40 + i, height=35, seed=i)
    split = Split(tuple(f"{i}.png" for i in range(COUNT)), np.zeros(COUNT, dtype=np.int64))
    return DatasetIndex("folder", tmp_path / "images", ("a",), split, split)


def opened(index: DatasetIndex) -> Cache:
    found = open_cache(index, spec_of("folder", cache="disk"), torch.device("cpu"))
    assert found is not None
    return found


def content(cache: Cache) -> tuple[bytes, bytes]:
    return np.asarray(cache.kept.pixels).tobytes(), cache.shapes.sizes.tobytes()  # type: ignore[union-attr]


# ---- the resized images


def flip(place: int) -> Callable[[Path], object]:
    """Change one bit of a file; a negative place counts from its end."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)

    return damage


def array_of(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], object]:
    """Store another array, in sound format."""
    return lambda path: np.save(path, change(np.load(path)))


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def nested(path: Path) -> None:
    path.write_text("[" * 20_000)


ANY = {
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
    "cut": lambda path: os.truncate(path, path.stat().st_size - 3),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "text": lambda path: path.write_text("damaged"),
    "a folder": replaced_by_folder,
    "a loop of links": lambda path: (path.unlink(), path.symlink_to(path.name)),
    "nested": nested,
}
ARRAYS = {
    "one bit of the header": flip(10),
    "one bit in the middle": flip(150),
    "one bit at the end": flip(-1),
    "other type": array_of(lambda values: values.astype(np.int64)),
    "same size, other type": array_of(lambda values: values.view(np.int8)),
    "other shape": array_of(lambda values: values.reshape(-1)),
    "other order": array_of(np.asfortranarray),
    "objects": lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
}
DAMAGES = [(file, name, damage) for file in FILES for name, damage in ANY.items()]
DAMAGES += [(file, name, damage) for file in FILES[:2] for name, damage in ARRAYS.items()]


@pytest.mark.parametrize(("file", "name", "damage"), DAMAGES, ids=lambda value: value if isinstance(value, str) else "")
def test_damaged_pixels_are_made_anew(
    index: DatasetIndex, monkeypatch: pytest.MonkeyPatch, file: str, name: str, damage: Callable[[Path], object]
) -> None:
    first = opened(index)
    expected, folder = content(first), first.kept.path.parent  # type: ignore[union-attr]
    damage(folder / file)
    read: list[str] = []
    original = Wanted.read
    monkeypatch.setattr(Wanted, "read", lambda self, file: (read.append(file), original(self, file))[1])
    assert content(opened(index)) == expected
    assert len(read) == COUNT
    assert content(opened(index)) == expected
    assert len(read) == COUNT  # sound again


def test_a_sound_cache_is_not_made_anew(index: DatasetIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = content(opened(index))
    monkeypatch.setattr(Wanted, "read", None)
    assert content(opened(index)) == expected


@pytest.mark.parametrize("other", ["file", "link", "link to nothing"])
def test_something_else_in_the_folders_place(index: DatasetIndex, tmp_path: Path, other: str) -> None:
    first = opened(index)
    expected, folder = content(first), first.kept.path.parent  # type: ignore[union-attr]
    shutil.rmtree(folder)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.txt").write_text("mine")
    if other == "file":
        folder.write_text("")
    else:
        folder.symlink_to(tmp_path / ("elsewhere" if other == "link" else "nothing"))
    assert content(opened(index)) == expected
    assert (tmp_path / "elsewhere" / "mine.txt").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("file", FILES)
def test_a_pipe_is_not_waited_for(index: DatasetIndex, file: str) -> None:
    first = opened(index)
    expected, path = content(first), first.kept.path.parent / file  # type: ignore[union-attr]
    path.unlink()
    os.mkfifo(path)
    assert content(opened(index)) == expected


# ---- images.sqlite


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(surveying, "KEPT_FROM", 1)
    return []


def surveyed(index: DatasetIndex, looked: list[str]) -> list[object]:
    looked.clear()
    return list(survey("names", index.root, index.train.files, lambda path: (looked.append(path.name), path.name)[1]))


def database() -> Path:
    return cache_home() / "images.sqlite"


def change(statement: str) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        connection.close()

    return damage


def flip_all(path: Path) -> None:
    """Change one byte in each page, behind what SQLite itself checks."""
    data = bytearray(path.read_bytes())
    for place in range(200, len(data), 512):
        data[place] ^= 0x55
    path.write_bytes(data)


ROWS = {
    "other finding": change("UPDATE summed_findings SET finding = 'x'"),
    "finding of bytes": change("UPDATE summed_findings SET finding = x'ff00'"),
    "finding that is no text": change("UPDATE summed_findings SET finding = CAST(x'ff' AS TEXT)"),
    "no finding": change("UPDATE summed_findings SET finding = NULL"),
    "number": change("UPDATE summed_findings SET finding = 3"),
    "other sum": change("UPDATE summed_findings SET sum = sum + 1"),
    "no sum": change("UPDATE summed_findings SET sum = NULL"),
    "other size": change("UPDATE summed_findings SET size = 'x'"),
    "no rows": change("DELETE FROM summed_findings"),
    "other table": lambda path: (
        change("DROP TABLE summed_findings")(path),
        change("CREATE TABLE summed_findings (a)")(path),
    ),
    "a view": lambda path: (
        change("DROP TABLE summed_findings")(path),
        change("CREATE VIEW summed_findings AS SELECT 1")(path),
    ),
    "bits": flip_all,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "text": lambda path: path.write_text("no database, but a text of some length" * 50),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", ROWS.values(), ids=ROWS)
def test_damaged_findings_are_found_anew(
    index: DatasetIndex, looked: list[str], damage: Callable[[Path], object]
) -> None:
    expected = surveyed(index, looked)
    assert surveyed(index, looked) == expected
    assert looked == []
    damage(database())
    assert surveyed(index, looked) == expected
    surveyed(index, looked)  # a database that was removed while it was read is filled now
    assert surveyed(index, looked) == expected
    assert looked == []


def test_a_file_that_is_no_bytes(index: DatasetIndex, looked: list[str]) -> None:
    expected = surveyed(index, looked)
    change("UPDATE summed_findings SET file = 7 WHERE file = x'302e706e67'")(database())
    assert surveyed(index, looked) == expected
    assert looked == ["0.png"]


def test_a_table_of_an_older_version_goes(index: DatasetIndex, looked: list[str]) -> None:
    surveyed(index, looked)
    change("CREATE TABLE findings (kind TEXT)")(database())
    surveyed(index, looked)
    with sqlite3.connect(database()) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    connection.close()
    assert names == ["summed_findings"]


def test_a_time_too_late_for_the_database(index: DatasetIndex, looked: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surveying, "stamp_of", lambda _: (5, 10**19))
        assert surveyed(index, looked) == list(index.train.files)
        assert surveyed(index, looked) == list(index.train.files)
