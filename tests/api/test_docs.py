"""Every example of docs/api.md runs, in order, in one program."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import typer

import fgvc_cli as fgvc
from fgvc_cli.cli.main import app
from fgvc_cli.viz.kinds.table import KINDS

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


COMMAND = typer.main.get_command(app)


def rows() -> list[tuple[str, str]]:
    """The table of commands: command, Python."""
    text = PAGE.read_text(encoding="utf-8").partition("## Every command")[2].partition("\n## ")[0]
    return [(one[1], one[2]) for one in re.finditer(r"^\| (`.*?) \| (.*) \|$", text, re.MULTILINE)]


def leaves(command: Any, words: tuple[str, ...] = ("fgvc",)) -> Iterator[str]:
    """Every command that can be typed, without flags."""
    for name, one in getattr(command, "commands", {}).items():
        yield from leaves(one, (*words, name))
    if not getattr(command, "commands", {}) or command.invoke_without_command:
        yield " ".join(words)


def test_every_command_is_in_the_table_and_no_other() -> None:
    named = {text for commands, _ in rows() for text in re.findall(r"`(fgvc [^`]+)`", commands)}
    kinds = {f"fgvc viz {kind}" for kind in (*KINDS, "all")}
    there = {"fgvc viz KIND" if command in kinds else command for command in leaves(COMMAND)} - {"fgvc"}
    assert there - named == set()
    assert named - there == {"fgvc train --dry-run"}


def test_every_name_in_the_table_is_there() -> None:
    found = [name for _, python in rows() for name in re.findall(r"`((?:fgvc|run|model)\.[\w.]+)`", python)]
    assert len(found) > 35
    homes = {"fgvc": fgvc, "run": fgvc.Run, "model": fgvc.Model}
    for name in found:
        first, _, rest = name.partition(".")
        assert attrgetter(rest)(homes[first]).__doc__, name
