"""The guide to a method of one's own, done to the letter on a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PAGE = ROOT / "docs/develop.md"
_STEP = re.compile(r"(?:^`(fgvc_cli/[^`]+)`\n\n)?^```(python|diff)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def follow(guide: str, root: Path) -> dict[str, int]:
    """Do what the guide says below `root`; the lines that each existing file gets."""
    file, lines = root, {}
    for path, language, code in _STEP.findall(guide):
        file = root / path if path else file
        if language == "python":
            assert not file.exists(), f"{path} is no new file"
            file.write_text(code, encoding="utf-8")
        else:
            name = file.relative_to(root).as_posix()
            lines[name] = lines.get(name, 0) + sum(line.startswith("+") for line in code.split("\n"))
            edit(file, code)
    return lines


def edit(file: Path, diff: str) -> None:
    """Apply a hunk: its old lines must be there exactly once."""
    old = "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[0] in " -")
    new = "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[0] in " +")
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file.name} has not once:\n{old}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def copied(root: Path) -> dict[str, int]:
    """A copy of the package with the guide's method in it."""
    shutil.copytree(ROOT / "fgvc_cli", root / "fgvc_cli", ignore=shutil.ignore_patterns("__pycache__"))
    return follow(PAGE.read_text(encoding="utf-8"), root)


def python(root: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(root / "cache")}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_sixth_method_trains(photos: Path, tmp_path: Path) -> None:
    lines = copied(tmp_path)
    assert sum(lines.values()) == 8  # "eight lines in three tables"
    assert len(lines) == 3
    flags = "--method gem --dataset folder --backbone tiny --weights none --image-size 32 --epochs 1 --batch-size 8"
    settings = "--workers 0 --device cpu --set method.power=2 --set data.resize=null --out run"
    python(tmp_path, "-m", "fgvc_cli", "train", *flags.split(), *settings.split(), "--data-dir", str(photos))
    assert (tmp_path / "run/model.safetensors").is_file()
    assert "final" in (tmp_path / "run/eval/test.json").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_rest_of_the_program_knows_it(photos: Path, tmp_path: Path) -> None:
    test_a_sixth_method_trains(photos, tmp_path)
    assert "generalised mean pooling" in python(tmp_path, "-m", "fgvc_cli", "methods")
    picture = str(photos / "test/red/0.png")
    python(tmp_path, "-m", "fgvc_cli", "viz", "all", picture, "--run", "run")
    python(tmp_path, "-m", "fgvc_cli", "predict", picture, "--run", "run", "--neighbours", "1")
    python(tmp_path, "-m", "fgvc_cli", "report", "run")
    shutil.copytree(ROOT / "tests", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    python(tmp_path, "-m", "pytest", "-n", "0", "tests/methods/test_contract.py", "-k", "gem or every_spec")
