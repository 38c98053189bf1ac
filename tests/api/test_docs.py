"""Every example of docs/api.md runs, in order, in one program."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/api.md"


def test_the_examples_run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = PAGE.read_text(encoding="utf-8")
    examples = [(found.start(), found[1]) for found in re.finditer("```python\n(.*?)```", text, re.DOTALL)]
    assert len(examples) >= 9
    names: dict[str, object] = {}
    for place, code in examples:
        line = text.count("\n", 0, place) + 1
        exec(compile("\n" * line + code, str(PAGE), "exec"), names)
    assert (tmp_path / "why.png").is_file()
    assert (tmp_path / "to-send/README.md").is_file()
