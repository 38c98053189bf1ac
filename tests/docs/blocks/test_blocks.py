"""Every block of every page is typed, in order, in a folder that has what it names: none may fail.

What is not done here: docs/api.md and docs/develop.md have tests of their own; nothing is installed; scripts of
benchmarks/ that need the real photographs and hours are in `test_measured.py`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fgvc_cli as fgvc
from fgvc_cli.runs.tracking import trackers
from tests.cli.conftest import Answer, command
from tests.data.download.conftest import server
from tests.data.download.official import serve_cub, serve_tree
from tests.data.trees import write_flowers
from tests.docs.blocks.terminal import Terminal
from tests.docs.blocks.world import build
from tests.docs.pages import PAGES, ROOT, blocks
from tests.runs.tracking.conftest import told
from tests.share.conftest import hub

__all__ = ["command", "hub", "server", "told"]  # the fixtures
ELSEWHERE = ("api", "develop")  # tests/api/test_docs.py, tests/docs/test_develop.py

LONG = ("performance", "researchers", "results", "scale", "suite")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is copied for each page."""
    return build(tmp_path_factory.mktemp("world") / "home")


@pytest.fixture
def home(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's own copy, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(world, tmp_path / "home", symlinks=True))


@pytest.fixture
def terminal(home: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    opened = Terminal(home, command, monkeypatch)
    yield opened
    opened.close()


def typed(terminal: Terminal, page: Path) -> None:
    """All of a page's blocks succeed."""
    found = sorted(blocks(page, "sh") + blocks(page, "python"), key=lambda block: block.line)
    for block in found:
        if block.language == "python":
            exec(compile("\n" * block.line + block.code, str(page), "exec"), {})
            continue
        said = terminal.type(block.code)
        assert said.code == 0, f"{page.name}:{block.line}\n{block.code}\n{said.out}\n{said.err}"


def pages() -> list[Any]:
    """Those that take a minute are what researchers repeat: suites, benchmarks, several processes."""
    found = [page for page in PAGES if blocks(page, "sh") and page.stem not in ELSEWHERE]
    return [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in LONG)) for page in found]


@pytest.mark.parametrize("page", pages())
def test_blocks(page: Path, home: Path, terminal: Terminal, request: pytest.FixtureRequest) -> None:
    if page.stem in PREPARED:
        PREPARED[page.stem](home, request)
    typed(terminal, page)


def _archives(home: Path, request: pytest.FixtureRequest) -> None:
    """The makers' servers; and nothing is there yet."""
    shutil.rmtree(home / "data")
    files, patch = request.getfixturevalue("server"), request.getfixturevalue("monkeypatch")
    serve_cub(files, patch, home.parent / "made-cub")
    serve_tree(files, patch, "flowers", write_flowers(home.parent / "made-flowers"))


def _no_run(home: Path, request: pytest.FixtureRequest) -> None:
    """The page trains it."""
    shutil.rmtree(home / "runs/reaps-cub")


def _exported(home: Path, request: pytest.FixtureRequest) -> None:
    run = fgvc.Run(home / "runs/reaps-folder-20260101-120000")
    run.export(home / "model.onnx", images=[home / "photos"])


def _hub(home: Path, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("hub")
    request.getfixturevalue("monkeypatch").chdir(home)


def _trackers(home: Path, request: pytest.FixtureRequest) -> None:
    """Those that a test has: none talks to anybody."""
    request.getfixturevalue("told")
    for name in trackers.TRACKERS:
        request.getfixturevalue("monkeypatch").setitem(trackers.TRACKERS, name, trackers.TRACKERS["wandb"])


def _suite(home: Path, request: pytest.FixtureRequest) -> None:
    """The page's own files: each block begins with its file's name."""
    for block in blocks(ROOT / "docs/suite.md", "toml"):
        name = re.match(r"# (\w+\.toml)", block.code)
        assert name, block
        with (home / name[1]).open("a", encoding="utf-8") as file:
            file.write(block.code)


def _weights(home: Path, request: pytest.FixtureRequest) -> None:
    """Labels are judged by a trained network."""
    request.getfixturevalue("realweights")


PREPARED = {
    "datasets": _archives,
    "export": _exported,
    "labels": _weights,
    "scale": _no_run,
    "share": _hub,
    "suite": _suite,
    "tracking": _trackers,
}


def test_json_lines(home: Path, terminal: Terminal) -> None:
    """The example has the keys of an answer, and of an image that cannot be read."""
    [example] = blocks(ROOT / "docs/predict.md", "json")
    (home / "bad.jpg").write_text("none")
    said = terminal.type("fgvc predict bird.jpg bad.jpg --run runs/reaps --top 1 --boxes --format json || true")
    assert [_keys(json.loads(line)) for line in said.out.splitlines()] == [
        _keys(json.loads(line)) for line in example.code.splitlines()
    ]


def _keys(value: object) -> object:
    """The value with every number and text left out."""
    if isinstance(value, dict):
        return {key: _keys(one) for key, one in value.items()}
    return [_keys(one) for one in value] if isinstance(value, list) else None
