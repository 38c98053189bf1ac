"""The command run inside this process: what a user sees of it, without starting Python each time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from fgvc_cli.cli.main import main
from fgvc_cli.machine import interrupt


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Answer]:
    """Run `fgvc ARGUMENTS` in a fresh folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FGVC_DATA_DIR", raising=False)

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(interrupt._handler, "said", False)  # by another test: a process says it once
        monkeypatch.setattr(sys, "argv", ["fgvc", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return Answer(left.value.code, out, err)

    return run
