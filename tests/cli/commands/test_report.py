from __future__ import annotations

import io
from pathlib import Path

import pytest

from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.conftest import small_spec


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    train(small_spec(photos, "baseline", "train.epochs=1"), out, Console(file=io.StringIO()))
    return out


def test_what_is_printed(run, command, tmp_path) -> None:
    done = command("report", run, "-o", "page.html", "--sample", 2)
    assert done.code == 0, done.err
    assert done.out.startswith("written: page.html (0.")
    assert (tmp_path / "page.html").stat().st_size > 10_000
    again = command("report", run, "-o", "page.html")
    assert (again.code, again.out) == (2, "")
    assert "fgvc: page.html already exists: --force overwrites it" in again.err
    assert command("report", run, "-o", "page.html", "--sample", 0, "--force").code == 0


def test_what_is_missing_is_noted(run, command, photos) -> None:
    moved = photos.with_name("moved")
    photos.rename(moved)
    try:
        done = command("report", run, "-o", "page.html")
    finally:
        moved.rename(photos)
    assert done.code == 0, done.err
    assert "note: run: No pictures:" in done.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "there is no run at"),
        ([], "no trained run under runs/"),
        (["--sample", "-1"], "Invalid value for '--sample'"),
        (["--split", "dev"], "has no dev split"),
        (["--device", "gpu"], "train.device: must be auto, cpu"),
    ],
)
def test_a_bad_request_is_one_line(run, command, arguments, line) -> None:
    words = arguments if not arguments or arguments[0] == "nowhere" else [run, "-o", "x.html", *arguments]
    done = command("report", *words)
    assert done.code == 2
    assert line in done.err
    assert "Traceback" not in done.err
    assert not Path("x.html").exists()
