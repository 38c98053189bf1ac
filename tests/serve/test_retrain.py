"""The command that trains on corrections, which is run."""

from __future__ import annotations

import csv
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.look import Model, open_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.serve.corrections import Corrections
from fgvc_cli.serve.retrain import prepare
from tests.cli.conftest import Answer
from tests.making import noise_jpeg


def sent(folder: Path, number: int, source: Path | None = None) -> Path:
    """An image as the server keeps it."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{number:032x}.png"
    return noise_jpeg(file) if source is None else Path(shutil.copyfile(source, file))


def test_own_images_are_mended_others_join_and_the_command_trains(
    run: Path, model: Model, photos: Path, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    kept = Corrections(tmp_path / "kept")
    recorded = RunFolder(run).splits()["splits"]
    held = recorded["val"][0]
    kept.put(sent(tmp_path / "a", 1, photos / "test/red/0.png"), "blue", "red", 0.5, "x.png")
    kept.put(sent(tmp_path / "a", 2, photos / held), None, "red", 0.5, "y.png")
    kept.put(sent(tmp_path / "a", 3), "green", "red", 0.5, "z.png")
    kept.put(sent(tmp_path / "a", 4), None, "red", 0.5, "")
    found = prepare(model, kept)
    assert (found.corrections, found.own, found.left_out, found.images) == (4, 2, 2, 33)
    rows = {row["path"]: row for row in csv.DictReader((kept.folder / "training.csv").open())}
    assert rows[str(photos / "test/red/0.png")] == {
        "path": str(photos / "test/red/0.png"),
        "label": "blue",
        "split": "test",
    }
    assert str(photos / held) not in rows
    assert rows[str(kept.folder / f"images/{3:032x}.png")]["split"] == "train"
    words = shlex.split(found.command)
    given = command(*words[1:], "--epochs", 1, "--out", tmp_path / "again")
    assert given.code == 0, given.err
    again = open_model(tmp_path / "again")
    assert again.classes == model.classes


def test_without_the_data_the_corrections_alone(run: Path, tmp_path: Path) -> None:
    shutil.copyfile(run / "model.safetensors", tmp_path / "model.safetensors")
    kept = Corrections(tmp_path / "kept")
    kept.put(sent(tmp_path / "a", 3), "green", "red", 0.5, "z.png")
    found = prepare(open_model(tmp_path / "model.safetensors"), kept)
    assert found.command == f"fgvc train --dataset csv --data-dir {kept.file}"
    assert "in no run folder" in found.note


def test_nothing_to_train_on(model: Model, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="no corrections yet"):
        prepare(model, Corrections(tmp_path))
