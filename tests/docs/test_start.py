"""What newcomers type, in order, beside a small folder of photos: the start page, and the walk of README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs/start.md"
_LEFT_OUT = r"^(pip install|fgvc serve) .*$"  # what has been done, and what never returns
COLOURS = {"ruby": (150, 20, 20), "emerald": (20, 150, 20), "sapphire": (20, 20, 150)}


def photos_of(folder: Path, name: str, count: int, seed: int) -> None:
    """Photos of coloured things, of the size that phones make small ones of."""
    dice = np.random.RandomState(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = dice.randint(0, 90, (200, 240, 3)).astype(np.uint8)
        pixels[40:160, 60:180] += np.array(COLOURS[name], np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")


def steps(page: Path) -> list[tuple[str, str]]:
    """A page's blocks in order: language and code."""
    found = sorted((one for language in ("sh", "python") for one in blocks(page, language)), key=lambda one: one.line)
    return [(one.language, re.sub(_LEFT_OUT, "", one.code, flags=re.MULTILINE)) for one in found]


def walk(tmp_path: Path, typed: list[tuple[str, str]]) -> str:
    """Type these blocks beside a folder of photos; what the last one printed."""
    for seed, name in enumerate(COLOURS):
        photos_of(tmp_path / "photos" / name, name, 20, seed)
    photos_of(tmp_path / "new-photos", "ruby", 3, 9)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    for language, code in typed:
        command = ["bash", "-ec", code] if language == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow  # its commands on a small network: tests/docs/blocks
def test_the_walk_of_the_readme(realweights: dict[str, Tensor], tmp_path: Path) -> None:
    [own] = [step for step in steps(ROOT / "README.md") if "--data-dir photos" in step[1]]
    walk(tmp_path, [own])
    assert (tmp_path / "runs/first/report.html").is_file()
    assert (tmp_path / "runs/first/export/model.onnx").is_file()


@pytest.mark.slow
def test_the_walk(realweights: dict[str, Tensor], tmp_path: Path) -> None:
    answers = walk(tmp_path, steps(PAGE))
    assert (tmp_path / "runs/first/report.html").is_file()
    assert "ruby" in answers  # the exported file's
