"""A run folder answers by the name that it has now."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.results import kept_result
from fgvc_cli.inference.look import Model
from fgvc_cli.inference.new_photos import Named
from fgvc_cli.runs.folder import RunFolder


@pytest.fixture
def renamed(tmp_path: Path) -> Path:
    """A run that was measured as `old` and is called `new` now."""
    final = {"top1": 0.5, "top5": 1.0, "mean_per_class": 0.5}
    result: dict[str, Any] = {
        "run": "runs/old",
        "epoch": 2,
        "split": "test",
        "classes": 2,
        "images": 4,
        "branches": {"final": final},
    }
    new = tmp_path / "new"
    (new / "eval").mkdir(parents=True)
    (new / "run.json").write_text("{}")
    (new / "eval/test.json").write_text(json.dumps(result))
    return new


def test_what_was_measured_is_told_of_the_folder_as_it_is_called_now(renamed: Path) -> None:
    run = RunFolder(renamed)
    about = {"epoch": 2, "classes": ["robin", "wren"]}
    assert kept_result(run, about, Named("test"))["run"] == str(renamed)


def test_its_name_wherever_it_is_called_from(renamed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (renamed.parent / "latest").symlink_to(renamed)
    monkeypatch.chdir(renamed)
    nothing: Any = None
    for path in (renamed, Path(), Path("../new"), Path("eval/.."), renamed.parent / "latest"):
        assert RunFolder(path).name == "new"
        assert Model(path / "model.safetensors", nothing, nothing, nothing).name == "new"
    assert Model(renamed.parent / "m.safetensors", nothing, nothing, nothing).name == "m.safetensors"


@pytest.mark.parametrize(("name", "most"), [("run.json", 16_777_216), ("classes.json", 1_073_741_824)])
def test_a_file_that_would_fill_the_memory_is_not_read(tmp_path: Path, name: str, most: int) -> None:
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, most + 1)
    run = RunFolder(tmp_path)
    with pytest.raises(FgvcError, match=f"{name}: it has {most + 1:,} bytes, and more than {most:,} are not read"):
        run.spec() if name == "run.json" else run.classes()
