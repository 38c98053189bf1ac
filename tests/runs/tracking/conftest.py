"""The fake tracker in the place of a real one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fgvc_cli.runs.tracking import trackers, tracking
from fgvc_cli.runs.tracking.trackers import Kind

Told = Callable[[], list[list[Any]]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """`wandb` is the fake; the result reads what it was told."""
    file = tmp_path / "told.jsonl"
    monkeypatch.setenv("FAKE_TRACKER", str(file))
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[3]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setitem(trackers.TRACKERS, "wandb", Kind("json", "wandb", "tests.runs.tracking.fake:Fake"))
    monkeypatch.setattr(tracking, "PATIENCE", 20.0)

    def read() -> list[list[Any]]:
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    return read
