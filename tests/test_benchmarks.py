"""The scripts in benchmarks/ follow the code that they measure."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

SCRIPTS = sorted(file.stem for file in Path(__file__).parents[1].joinpath("benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_still_finds_what_it_measures(name) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").main)
