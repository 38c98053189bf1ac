"""A run is the same run wherever its images are kept."""

from __future__ import annotations

import pytest

from fgvc_cli.data.loading import cache_files
from fgvc_cli.errors import BadRequest
from fgvc_cli.training.estimate import estimate
from fgvc_cli.training.train import Machine, resume, train
from tests.conftest import small_spec
from tests.training.test_train import Killed, assert_same_run, kill_after, quiet

HELD_OUT = ("data.val_fraction=0.25", "data.padding=2", "data.augment_magnitude=5")


@pytest.fixture(autouse=True)
def _places(tmp_path, monkeypatch) -> None:
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_files, "_SHARED_MEMORY", tmp_path / "shm")


@pytest.mark.parametrize("more", [(), ("data.augment=randaugment", "data.erasing=0.5", "data.rotation=10")])
def test_killed_and_resumed_from_another_cache(photos, tmp_path, monkeypatch, more) -> None:
    sets = (*HELD_OUT, *more)
    train(small_spec(photos, "baseline", *sets), tmp_path / "plain", quiet())
    train(small_spec(photos, "baseline", *sets, "data.cache=disk"), tmp_path / "disk", quiet())
    assert_same_run(tmp_path / "plain", tmp_path / "disk")
    with monkeypatch.context() as patch:
        kill_after(patch, 3)
        with pytest.raises(Killed):
            train(small_spec(photos, "baseline", *sets, "train.checkpoint_every=2"), tmp_path / "run", quiet())
    resume(tmp_path / "run", Machine(cache="ram"), quiet())
    assert_same_run(tmp_path / "plain", tmp_path / "run")


def test_what_makes_no_sense_starts_nothing(photos, tmp_path) -> None:
    with pytest.raises(BadRequest, match="--cache gpu: this run computes on the CPU"):
        train(small_spec(photos, "baseline", "data.cache=gpu"), tmp_path / "run", quiet())
    assert not (tmp_path / "run").exists()
    with pytest.raises(BadRequest, match=r"data\.cache"):
        Machine(cache="tape").applied(small_spec(photos))


def test_a_dry_run_keeps_nothing(photos, tmp_path) -> None:
    estimate(small_spec(photos, "baseline", "data.cache=disk"), tmp_path / "run", quiet())
    assert not (tmp_path / "cache/fgvc/resized").exists()
