from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from fgvc_cli.data.images import survey as surveying
from fgvc_cli.data.images.read import ImageError
from fgvc_cli.data.images.survey import survey


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Names of the files that are looked at, in a world with a cache of its own that is used from 3 files on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(surveying, "KEPT_FROM", 3)
    return []


def looking(looked: list[str]) -> Callable[[Path], str]:
    def look(path: Path) -> str:
        looked.append(path.name)
        text = path.read_text()
        if text == "bad":
            raise ImageError(f"{path}: bad")
        return text.upper()

    return look


def written(root: Path, **texts: str) -> list[str]:
    root.mkdir(exist_ok=True)
    for name, text in texts.items():
        (root / name).write_text(text)
    return list(texts)


def test_findings_are_kept_until_a_file_changes(tmp_path: Path, looked: list[str]) -> None:
    root, look = tmp_path / "images", looking(looked)
    files = written(root, a="one", b="two", c="bad", d="four")
    first = survey("text", root, files, look)
    assert [str(found) for found in first] == ["ONE", "TWO", f"{root / 'c'}: bad", "FOUR"]
    assert sorted(looked) == files
    looked.clear()
    second = survey("text", root, files, look)
    assert [str(found) for found in second] == [str(found) for found in first]
    assert looked == ["c"]  # only sound images are remembered
    looked.clear()
    (root / "b").write_text("new")
    os.utime(root / "d", ns=(0, 0))
    assert survey("text", root, files, look)[1] == "NEW"
    assert sorted(looked) == ["b", "c", "d"]
    looked.clear()
    survey("other", root, files, look)
    assert sorted(looked) == files


def test_few_files_leave_no_trace(tmp_path: Path, looked: list[str]) -> None:
    files = written(tmp_path / "images", a="one", b="two")
    assert survey("text", tmp_path / "images", files, looking(looked)) == ["ONE", "TWO"]
    assert not (tmp_path / "cache").exists()
    assert survey("text", tmp_path / "images", [], looking(looked)) == []


def test_names_that_are_no_text(tmp_path: Path, looked: list[str]) -> None:
    root = tmp_path / "images"
    files = written(root, a="one", b="two")
    odd = os.fsdecode(b"\xff\xfe.jpg")
    try:
        (root / odd).write_text("three")
    except OSError:
        odd = "plain"
        (root / odd).write_text("three")
    for _ in range(2):
        assert survey("text", root, [*files, odd], looking(looked)) == ["ONE", "TWO", "THREE"]
    assert len(looked) == 3


def test_a_damaged_or_forbidden_cache_costs_nothing_but_time(tmp_path: Path, looked: list[str]) -> None:
    root, look = tmp_path / "images", looking(looked)
    files = written(root, a="one", b="two", c="three")
    cache = tmp_path / "cache" / "fgvc" / "images.sqlite"
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"this is no database" * 100)
    assert survey("text", root, files, look) == ["ONE", "TWO", "THREE"]
    survey("text", root, files, look)
    assert len(looked) == 3  # the damaged one was replaced
    with sqlite3.connect(cache) as busy:
        busy.execute("DROP TABLE summed_findings")
        busy.execute("CREATE TABLE summed_findings (other TEXT)")
    assert survey("text", root, files, look) == ["ONE", "TWO", "THREE"]
    cache.unlink()
    cache.parent.rmdir()
    cache.parent.write_text("a file where a folder should be")
    assert survey("text", root, files, look) == ["ONE", "TWO", "THREE"]


def test_progress_counts_steps_of_what_is_not_known(
    tmp_path: Path, looked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveying, "_STEP", 2)
    monkeypatch.setattr(surveying, "_STEPS_A_WRITE", 1)
    files = written(tmp_path / "images", a="1", b="2", c="3")
    steps: list[tuple[str, int, int]] = []
    for _ in range(2):
        survey("text", tmp_path / "images", files, looking(looked), lambda *step: steps.append(step))
    assert steps == [("text", 0, 2), ("text", 1, 2), ("text", 2, 2)]


def test_what_was_found_before_an_end_is_kept(
    tmp_path: Path, looked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveying, "_STEP", 1)
    monkeypatch.setattr(surveying, "_STEPS_A_WRITE", 1)
    files = written(tmp_path / "images", a="1", b="2", c="3")

    def stopped(path: Path) -> str:
        if path.name == "c":
            raise KeyboardInterrupt
        return looking(looked)(path)

    with pytest.raises(KeyboardInterrupt):
        survey("text", tmp_path / "images", files, stopped)
    looked.clear()
    survey("text", tmp_path / "images", files, looking(looked))
    assert looked == ["c"]
