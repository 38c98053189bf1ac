"""The page that newcomers follow: every command of it is typed, in order, beside a small folder of photos."""

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
COLOURS = {"ruby": (150, 20, 20), "emerald": (20, 150, 20), "sapphire": (20, 20, 150)}


def photos_of(folder: Path, name: str, count: int, seed: int) -> None:
    """Photos of coloured things, of the size that phones make small ones of."""
    dice = np.random.RandomState(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = dice.randint(0, 90, (200, 240, 3)).astype(np.uint8)
        pixels[40:160, 60:180] += np.array(COLOURS[name], np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")


def steps() -> list[tuple[str, str]]:
    """The page's blocks in order: language and code, what installs left out."""
    found = sorted((one for language in ("sh", "python") for one in blocks(PAGE, language)), key=lambda one: one.line)
    return [(one.language, re.sub(r"^pip install .*$", "", one.code, flags=re.MULTILINE)) for one in found]


@pytest.mark.slow
def test_the_walk(realweights: dict[str, Tensor], tmp_path: Path) -> None:
    for seed, name in enumerate(COLOURS):
        photos_of(tmp_path / "photos" / name, name, 20, seed)
    photos_of(tmp_path / "new-photos", "ruby", 3, 9)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    for language, code in steps():
        command = ["bash", "-ec", code] if language == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "runs/first/report.html").is_file()
    assert "ruby" in done.stdout  # what the exported file answers
