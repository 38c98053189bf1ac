from __future__ import annotations

import pytest
import torch

from fgvc_cli.bench.data import PLAIN, Setting, measure
from fgvc_cli.bench.rounds import Rates, in_turns
from fgvc_cli.cli.main import app
from fgvc_cli.data.loading import cache_files
from tests.data.small_archives import spec_of


@pytest.fixture(autouse=True)
def _places(tmp_path, monkeypatch) -> None:
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(cache_files, "_SHARED_MEMORY", tmp_path / "shm")


def test_ways_take_turns() -> None:
    calls = []
    rates = iter(range(100))

    def way(name: str):
        return lambda: (calls.append(name), float(next(rates)))[1]

    steps = []
    found = in_turns({"a": way("a"), "b": way("b")}, 3, lambda *step: steps.append(step[1:]))
    assert calls == ["a", "b"] * 4
    assert found["a"] == (2.0, 4.0, 6.0)  # the first of all warms up
    assert (Rates(found["b"]).best, Rates(found["b"]).median) == (7.0, 5.0)
    assert steps == [(done, 8) for done in range(9)]


def test_every_way_is_measured_on_drawn_photographs(tmp_path) -> None:
    spec = spec_of("folder", resize=40)
    found = measure(Setting(spec, 2, torch.device("cpu"), rounds=1, images=5, workers=1), None, lambda *_: None)
    assert list(found.loaded) == list(found.ready) == [PLAIN, "no cache", "--cache disk", "--cache ram"]
    assert (found.images, found.workers) == (5, 1)
    assert min(rates.best for kind in (found.loaded, found.ready) for rates in kind.values()) > 0
    assert not [path for path in tmp_path.glob("shm/*/*") if path.is_dir()]


def test_the_command_on_a_folder(photos, capsys) -> None:
    words = ["--dataset", "folder", "--data-dir", str(photos), "--image-size", "32", "--batch-size", "4"]
    app(["bench", "data", *words, "--workers", "0", "--rounds", "1", "--images", "8"], standalone_mode=False)
    out = capsys.readouterr().out
    assert "8 images, " in out
    assert "→ 32 pixels, batches of 4, 0 worker processes" in out
    for way in (PLAIN, "no cache", "--cache disk", "--cache ram"):
        assert way in out
