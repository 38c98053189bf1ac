from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from fgvc_cli.data.formats import json_stream as jsonstream
from fgvc_cli.data.formats.json_stream import elements
from fgvc_cli.errors import BadRequest

TREE: dict[str, Any] = {
    "info": {"year": 2021, "list": [1, [2]]},
    "images": [{"id": 1, "name": 'quoted " ] } , \\ é \u2028'}, {"id": 12345, "x": [[], {}]}],
    "empty": [],
    "numbers": [1, -2.5e-3, 123456789],
    "words": ["a", "", "]"],
    "other": [None, True, False],
    "last": 3.25,
}


def flat(tree: dict[str, Any]) -> list[tuple[str, Any]]:
    """What `elements` should yield."""
    return [(key, item) for key, value in tree.items() for item in (value if isinstance(value, list) else [value])]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize("style", [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_the_same_as_json_for_any_size_of_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, style: dict[str, Any]
) -> None:
    monkeypatch.setattr(jsonstream, "_CHUNK", chunk)
    (tmp_path / "x.json").write_text(json.dumps(TREE, **style) + "\n", encoding="utf-8")
    assert list(elements(tmp_path / "x.json")) == flat(TREE)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    text = json.dumps(TREE)
    for end in random.Random(0).sample(range(len(text)), 60):
        (tmp_path / "x.json").write_text(text[:end])
        with pytest.raises(BadRequest, match=r"x\.json: is not a complete JSON file"):
            list(elements(tmp_path / "x.json"))


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "{", '{"a" 1}', '{"a": [1 2]}', '{"a": [1.]}', '{"a": 1 "b": 2}', '{"a": nul}', "\xff"]
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="latin-1")
    with pytest.raises(BadRequest, match="get it again"):
        list(elements(tmp_path / "x.json"))


def test_memory_is_bounded_where_an_element_has_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonstream, "_CHUNK", 100)
    monkeypatch.setattr(jsonstream, "_LARGEST", 1000)
    path = tmp_path / "x.json"
    path.write_text('{"a": ["' + "x" * 100_000)
    with path.open() as stream:
        reader = jsonstream._Reader(stream)
        with pytest.raises(ValueError, match="Unterminated"):
            list(reader.members())
        assert stream.tell() < 20_000
