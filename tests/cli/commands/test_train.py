"""Flags of `fgvc train` on their way to the spec, and the dry run as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fgvc_cli.spec.flags import spec_of
from tests.cli.test_main import SMALL, fgvc


def test_flags_become_fields() -> None:
    flags = {
        "ema_decay": 0.99,
        "label_smoothing": 0.1,
        "mixup": 0.2,
        "cutmix": 1.0,
        "class_balance": True,
        "patience": 4,
    }
    spec = spec_of(flags)
    assert (spec.train.ema_decay, spec.train.class_balance, spec.train.patience) == (0.99, True, 4)
    assert spec.regularise.model_dump() == {
        "label_smoothing": 0.1,
        "mixup_alpha": 0.2,
        "cutmix_alpha": 1.0,
        "mix_probability": 1.0,
        "level_weights": (),
    }
    assert spec_of({}).train.ema_decay is None
    assert not spec_of({"class_balance": False}).train.class_balance


def test_split_folders_start_at_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {"dataset": "folder", "train_dir": Path("a"), "test_dir": Path("/b"), "follow_links": True}
    data = spec_of(flags).data
    assert (data.root, data.train_dir, data.val_dir, data.test_dir) == (tmp_path, Path("a"), None, Path("/b"))
    assert data.follow_links
    data = spec_of({**flags, "data_dir": Path("photos")}).data
    assert (data.root, data.train_dir) == (tmp_path / "photos", Path("a"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--ema-decay", "1"], "train.ema_decay: must be below 1"),
        (["--label-smoothing", "1"], "regularise.label_smoothing: must be below 1"),
        (["--mixup", "-1"], "regularise.mixup_alpha: must be at least 0"),
        (["--patience", "0"], "train.patience: must be at least 1"),
        (["--set", "regularise.mix_probability=2"], "regularise.mix_probability: must be at most 1"),
        (["--dry-run", "--resume", "x"], "--dry-run estimates a run that has not started"),
        (["--dry-run", "--epochs", "0"], "train.epochs: must be at least 1"),
    ],
)
def test_a_wrong_flag_is_one_line(arguments, line, tmp_path) -> None:
    result = fgvc("train", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert line in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_dry_run_tells_and_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    before = sorted(photos.rglob("*"))
    flags = ["--dataset", "folder", "--data-dir", photos, "--val-fraction", "0.25", "--patience", "3", "--mixup", "1"]
    result = fgvc("train", "--dry-run", *flags, *SMALL, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    text, _, table = result.stdout.partition("\n}\n")
    spec = json.loads(text + "\n}")
    assert spec["regularise"]["mixup_alpha"] == 1
    assert "nothing was trained" in table
    for line in ("classes", "train images", "val images", "parameters", "multiply-adds", "memory of a step", "time of"):
        assert line in table
    assert "may stop early" in table
    assert not list(tmp_path.iterdir())
    assert sorted(photos.rglob("*")) == before
