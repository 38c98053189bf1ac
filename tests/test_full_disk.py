"""A disk that fills up while a run writes: one line says so, and what was saved before is whole."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fgvc_cli.errors import FgvcError
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.training import epoch as epoch_module
from fgvc_cli.training import session as session_module
from fgvc_cli.training import train as train_module
from fgvc_cli.training.train import Machine, resume, train
from tests.conftest import disk_of, small_spec

MEGABYTE = 1 << 20


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MiB."""
    with disk_of(tmp_path / "disk", mebibytes=40) as folder:
        yield folder


def fill(disk: Path, leave: int) -> None:
    """Take all but `leave` bytes of the disk."""
    room = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        file.write(bytes(max(0, room.f_bavail * room.f_frsize - leave)))


def fail_before(monkeypatch: pytest.MonkeyPatch, module: object, name: str, at: int, disk: Path, leave: int) -> None:
    """Fill the disk just before the call number `at` of a function."""
    whole, calls = getattr(module, name), 0

    def filling(*arguments: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at:
            fill(disk, leave)
        return whole(*arguments, **more)

    monkeypatch.setattr(module, name, filling)


PLACES = [
    pytest.param(session_module, "save_checkpoint", 2, MEGABYTE, id="in a checkpoint"),
    pytest.param(epoch_module, "save_model", 2, MEGABYTE, id="in the model"),
    pytest.param(train_module, "evaluate_run", 1, 0, id="in the evaluation"),
    pytest.param(train_module.MetricsFile, "append", 2, 0, id="in the metrics"),
]


@pytest.mark.parametrize(("module", "name", "at", "leave"), PLACES)
def test_what_was_saved_is_whole_and_goes_on(
    small_disk, photos, tmp_path, monkeypatch, module, name, at, leave
) -> None:
    whole, out = tmp_path / "whole", small_disk / "run"
    train(small_spec(photos), whole, quiet())
    with monkeypatch.context() as patch:
        fail_before(patch, module, name, at, small_disk, leave)
        with pytest.raises(FgvcError, match=r"cannot write .*: the disk is full: free some space") as caught:
            train(small_spec(photos), out, quiet())
    assert caught.value.exit_code == 1
    assert not list(out.rglob(".writing-*"))
    assert RunFolder(out).checkpoint_steps()
    load_file(out / "model.safetensors")
    (small_disk / "filler").unlink()
    resume(out, Machine(), quiet())
    one, two = load_file(whole / "model.safetensors"), load_file(out / "model.safetensors")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_no_room_for_a_run_at_all(small_disk, photos) -> None:
    fill(small_disk, 0)
    with pytest.raises(FgvcError, match="the disk is full"):
        train(small_spec(photos), small_disk / "run", quiet())


def test_no_room_for_the_demo(small_disk) -> None:
    from fgvc_cli.data.datasets import load_index
    from fgvc_cli.spec.data import DataSpec

    fill(small_disk, MEGABYTE)
    with pytest.raises(FgvcError, match=r"demo cannot be drawn there \(No space left on device\)"):
        load_index(DataSpec(dataset="demo", root=small_disk, image_size=128))
    assert [path.name for path in small_disk.iterdir() if not path.name.startswith(".")] == ["filler"]
