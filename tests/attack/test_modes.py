"""All files follow the umask, so that a team can resume a shared run."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fgvc_cli.files import write_atomically, write_folder_atomically, write_json
from fgvc_cli.runs.checkpoint import save_checkpoint, save_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.conftest import small_spec


@pytest.fixture(params=[0o002, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """The modes of a folder and all in it; 0o777 less the umask for folders, 0o666 for files."""
    return {str(path): stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}


def must_follow(folder: Path, umask: int) -> None:
    wrong = {
        path: oct(mode)
        for path, mode in modes(folder).items()
        if mode != (0o777 if Path(path).is_dir() else 0o666) & ~umask
    }
    assert wrong == {}


def test_what_is_written_whole_follows_the_umask(tmp_path, umask) -> None:
    home = tmp_path / "home"
    home.mkdir()
    write_json(home / "a.json", 1)
    write_json(home / "a.json", 2)

    def private(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)

    write_atomically(home / "b", private)
    write_folder_atomically(home / "c", lambda folder: private(folder / "d"))
    save_checkpoint(RunFolder(home), 1, {"x": torch.ones(1)})
    save_model(home / "model.safetensors", {"w": torch.ones(1)}, {"spec": {}, "classes": ["a"], "epoch": 1})
    with RunFolder(home).locked():
        must_follow(home, umask)


def test_a_whole_run_follows_the_umask(photos, tmp_path) -> None:
    before = os.umask(0o002)
    try:
        train(
            small_spec(photos, "baseline", "train.epochs=1", "data.val_fraction=0.25"),
            tmp_path / "run",
            Console(quiet=True),
        )
    finally:
        os.umask(before)
    must_follow(tmp_path / "run", 0o002)
