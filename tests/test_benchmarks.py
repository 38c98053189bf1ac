"""The scripts in benchmarks/ follow the code that they measure."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(file.stem for file in ROOT.joinpath("benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_still_finds_what_it_measures(name) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").main)


def test_the_soak_finds_nothing_in_a_few_inputs(tmp_path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.soak", "--kills", "1", "--inputs", "12", "--out", str(figures)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert found["kills"]["equal"] == 1
    assert sum(table.get("inputs", 0) for table in found.values()) == 12
    assert not [line for line in done.stdout.splitlines() if re.match(r"[a-z ]+:\d+: ", line)], done.stdout
