"""The scripts behind the pages' tables run as the pages say, on a small part of the real photographs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torch import Tensor

from tests.docs.blocks.terminal import SCRIPTS, script
from tests.docs.pages import PAGES, ROOT, blocks, typed

_CLASSES, _TRAINING, _TEST = 32, 6, 3  # of each dataset; images of each class
_LESS = {  # the first words after the script's name → what makes it minutes
    "doubt unknown": "--methods probe --draws 1",
    "doubt small": "--draws 2",
    "frozen_features heads": "--datasets cub --networks lite0",
    "frozen_features rates": "--pictures 32",
    "clan_memory": "--size 64 --batch 1",
    "clan_relation": "--rounds 1 --batch 1 --channels 8",
    "tdsa_losses": "--rounds 1 --batch 1 --skip-step",
    "trained_methods": "--classes 4 --epochs 1 --methods baseline",
    "trained_start": "--steps 2 --size 64",
    "soak --kills": "--kills 1 --inputs 12",
}


def commands() -> list[str]:
    """Those of `SCRIPTS` that a page's small folder is too small for."""
    found = [words for page in PAGES for block in blocks(page, "sh") for words in typed(block.code)]
    return sorted({shlex.join(words) for words in found if (name := script(words)) and SCRIPTS[name] is None})


@pytest.fixture(scope="session")
def part(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small part of the real parts, in the official layouts."""
    root = tmp_path_factory.mktemp("part")
    _cub(realdata / "CUB_200_2011", root / "CUB_200_2011")
    _cars(realdata / "stanford_cars", root / "stanford_cars")
    return root


def _chosen(labels: Iterable[int], most: int) -> list[int]:
    """Rows of the first classes, so many of each."""
    seen: dict[int, int] = {}
    rows = []
    for row, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        if label <= _CLASSES and seen[label] <= most:
            rows.append(row)
    return rows


def _cub(whole: Path, small: Path) -> None:
    tables = {
        file.name: file.read_text(encoding="utf-8").splitlines()
        for file in whole.glob("*.txt")
        if file.name != "classes.txt"
    }
    labels = [int(line.split()[1]) for line in tables["image_class_labels.txt"]]
    training = [line.split()[1] == "1" for line in tables["train_test_split.txt"]]
    rows = []
    for inside, most in ((True, _TRAINING), (False, _TEST)):
        rows += _chosen((n if t is inside else 10**6 for n, t in zip(labels, training, strict=True)), most)
    small.mkdir()
    (small / "images").symlink_to(whole / "images")
    for name, lines in tables.items():
        small.joinpath(name).write_text("".join(f"{lines[row]}\n" for row in sorted(rows)), encoding="utf-8")
    classes = (whole / "classes.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (small / "classes.txt").write_text("".join(classes[:_CLASSES]), encoding="utf-8")


def _cars(whole: Path, small: Path) -> None:
    (small / "devkit").mkdir(parents=True)
    for folder in ("cars_train", "cars_test"):
        (small / folder).symlink_to(whole / folder)
    (small / "devkit/cars_meta.mat").symlink_to(whole / "devkit/cars_meta.mat")
    for name, most in (("devkit/cars_train_annos.mat", _TRAINING), ("cars_test_annos_withlabels.mat", _TEST)):
        table = scipy.io.loadmat(whole / name)["annotations"]
        rows = _chosen((int(np.squeeze(one["class"])) for one in table[0]), most)
        scipy.io.savemat(small / name, {"annotations": table[:, rows]})


@pytest.mark.slow
@pytest.mark.parametrize("line", commands())
def test_it_measures(line: str, part: Path, realweights: dict[str, Tensor], tmp_path: Path) -> None:
    words = shlex.split(line)
    name = script(words)
    less = next((more for start, more in _LESS.items() if f"{name} {' '.join(words[3:])}".startswith(start)), "")
    places = {"ROOT": str(part), "FOLDER": str(tmp_path / "folder"), "CUB_200_2011": str(part / "CUB_200_2011")}
    command = [sys.executable, *(places.get(word, word) for word in words[1:]), *less.split()]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
