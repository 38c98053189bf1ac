"""One bad line of a list is one image that cannot be read; it never ends the list."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fgvc_cli.data.download.state import SUMS, read_sums, seal
from fgvc_cli.data.formats.lists import read_lines
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.pictures import find_pictures
from tests.cli.conftest import Answer
from tests.conftest import small_spec, untrained
from tests.making import noise_jpeg

BAD = (
    "~nobody/b.png",
    "~nobody",
    "x" * 300 + ".png",
    "x/" * 3000 + "a.png",
    "nul\0byte.png",
    "\0",
    "nothing-*.png",
    "[",
    "good.jpg/inside.png",
    "loop/a.png",
    "bytes\udcff.png",
    "~\0",
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    noise_jpeg(tmp_path / "good.jpg")
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


@pytest.mark.parametrize("line", BAD, ids=range(len(BAD)))
def test_a_bad_line_is_one_image_and_the_others_are_found(home: Path, line: str) -> None:
    found = find_pictures(["-"], [line + "\n", "good.jpg\n"])
    assert [picture.name for picture in found] == [str(Path(line)), "good.jpg"]


@pytest.mark.parametrize("word", [word for word in BAD if "\0" not in word], ids=ascii)
def test_on_the_command_line_it_is_a_bad_request(home: Path, word: str) -> None:
    with pytest.raises(BadRequest):
        find_pictures([word])


def test_a_file_may_begin_with_a_tilde(home: Path) -> None:
    noise_jpeg(home / "~b.jpg")
    assert [picture.name for picture in find_pictures(["~b.jpg", "-"], ["~b.jpg"])] == ["~b.jpg"]


def test_predict_answers_for_every_line(
    home: Path, photos: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = untrained(small_spec(photos), ("red", "green"), home / "model.safetensors")
    text = "\n".join([*BAD, "good.jpg"]).encode("utf-8", "surrogateescape")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    answer = command("predict", "-", "--run", model, "--format", "json", "-o", "answers.json")
    rows = [json.loads(line) for line in Path("answers.json").read_text().splitlines()]
    assert answer.code == 1
    assert "Error" not in answer.err
    assert ["error" in row for row in rows] == [True] * len(BAD) + [False]
    assert all(row["error"] for row in rows[:-1])


@pytest.mark.parametrize("flag", ["--run", "--output"])
def test_a_home_that_nobody_has_is_no_internal_error(home: Path, flag: str, command: Callable[..., Answer]) -> None:
    answer = command("predict", "good.jpg", flag, "~nobody/x")
    assert answer.code == 2
    assert "Error" not in answer.err


# ---- lists on disk


def test_only_newlines_end_a_line(tmp_path: Path) -> None:
    (tmp_path / "images.txt").write_text("1 a\x0b\x0c\x1c\x85\u2028b.jpg\r\n2 c.jpg\n", encoding="utf-8")
    assert [line.text for line in read_lines(tmp_path / "images.txt")] == ["1 a\x0b\x0c\x1c\x85\u2028b.jpg", "2 c.jpg"]


def test_recorded_checksums_hold_every_name(tmp_path: Path) -> None:
    names = ["a", "new\nline", "line\r", "back\\slash", r"\n", "\x85 \u2028", os.fsdecode(b"caf\xe9")]
    for name in names:
        try:
            (tmp_path / name).write_text(name, encoding="utf-8", errors="surrogateescape")
        except OSError:
            pytest.skip("this file system holds only names that are text")
    seal(tmp_path, "cub", True, ())
    assert sorted(read_sums(tmp_path)) == sorted(names)
    assert all(len(known) == 64 for known in read_sums(tmp_path).values())
    assert rb"\\n" in (tmp_path / SUMS).read_bytes()
