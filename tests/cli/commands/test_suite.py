"""`fgvc suite` as its user sees it: what fails, what goes on, and the table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_cli.suite.plan import open_suite
from tests.cli.conftest import Answer

Command = Callable[..., Answer]
SUITE = """
title = "Two methods"
baseline = "plain"
seeds = [0, 1]

[defaults]
dataset = "folder"
data_dir = "{photos}"
backbone = "tiny"
weights = "none"
image_size = 32
epochs = 1
batch_size = 8
device = "cpu"
workers = 0
set = ["data.resize=36", "data.duplicates=off"]

[[rows]]
name = "plain"
method = "baseline"
published = 80.5

[[rows]]
name = "mc, own"
method = "mc"
set = ["optim.lr=0.01"]
"""


def test_a_suite_runs_names_what_fails_goes_on_and_makes_its_table(command: Command, photos: Path, tmp_path) -> None:
    (tmp_path / "two.toml").write_text(SUITE.format(photos=photos))
    model = tmp_path / "suites/two/plain/seed-0/model.safetensors"
    asked = ("suite", "two.toml")
    broken = SUITE.format(photos=photos).replace('"optim.lr=0.01"', '"optim.lr=1e30"')
    (tmp_path / "broken.toml").write_text(broken)
    failed = command("suite", "broken.toml", "--seeds", "0")
    assert failed.code == 1
    assert "1 of 2 runs failed: mc, own, seed 0" in failed.err
    assert "plain, seed 0: finished" in failed.err
    assert "mc, own (not finished: seed 0)" in (tmp_path / "suites/broken/table.md").read_text()

    done = command(*asked)
    assert done.code == 0, done.err
    assert "[4/4]" in done.err
    before = model.stat().st_mtime_ns
    again = command(*asked)
    assert again.err.count("finished before") == 4
    assert model.stat().st_mtime_ns == before
    rows = list(csv.DictReader((tmp_path / "suites/two/table.csv").open()))
    assert [row["row"] for row in rows] == ["plain", "mc, own"]
    assert rows[0]["difference"] == ""
    assert rows[0]["published"] == "80.5"
    assert "[" in rows[1]["difference"]
    assert " ± " in rows[1]["top-1"]
    tree = json.loads((tmp_path / "suites/two/table.json").read_text())
    tops = [
        json.loads((tmp_path / f"suites/two/plain/seed-{seed}/eval/test.json").read_text())["branches"]["final"]["top1"]
        for seed in (0, 1)
    ]
    assert tree[0]["top1"]["mean"] == pytest.approx(np.mean(tops))
    assert tree[0]["top1"]["deviation"] == pytest.approx(np.std(tops, ddof=1))
    assert r"\begin{tabular}" in (tmp_path / "suites/two/table.tex").read_text()
    with Image.open(tmp_path / "suites/two/chart.png") as picture:
        assert min(picture.size) > 100


def test_what_show_prints_is_a_suite(command: Command, tmp_path) -> None:
    """As the guide for researchers says: one as TOML, to change."""
    file = tmp_path / "mine.toml"
    file.write_text(command("suite", "show", "tdsa/table3").out)
    assert open_suite(str(file))[0] == open_suite("tdsa/table3")[0]
    assert "published = 69.24\n" in file.read_text()


def test_show_and_bad_requests(command: Command) -> None:
    assert "tdsa/table3" in command("suite", "show").out
    for arguments, words in (
        (("suite", "nothing"), "there is no suite nothing"),
        (("suite", "nothing.toml"), "cannot read nothing.toml"),
        (("suite", "compare", "--rows", "x"), "there is no row 'x'"),
        (("suite", "compare", "--seeds", "a"), "give whole numbers"),
    ):
        done = command(*arguments)
        assert done.code == 2
        assert words in done.err
