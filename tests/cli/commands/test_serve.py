"""`fgvc serve`: what it refuses in one line, and a server that is started, asked and stopped."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import urllib3

from fgvc_cli.serve.web.server import listening_socket
from tests.cli.conftest import Answer
from tests.conftest import small_spec, untrained

Command = Callable[..., Answer]


@pytest.fixture
def file(photos: Path, tmp_path: Path) -> Path:
    return untrained(small_spec(photos), ("blue", "green", "red"), tmp_path / "model.safetensors")


def test_a_port_in_use(command: Command, file: Path) -> None:
    with listening_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        given = command("serve", file, "--port", port)
    line = f"fgvc: port {port} of 127.0.0.1 is in use: choose another with --port (0 takes a free one)\n"
    assert given == (2, "", line)


def test_no_run(command: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    given = command("serve", tmp_path / "photos", "--port", 0)
    assert given == (2, "", f"fgvc: {tmp_path}/photos is not a run folder: it has no run.json\n")


def test_a_missing_extra(command: Command, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec

    def found(name: str, *more: str) -> object:
        return None if name == "uvicorn" else there(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", found)
    given = command("serve", file, "--port", 0)
    assert given == (2, "", "fgvc: fgvc serve needs uvicorn: pip install 'fgvc[serve]'\n")


def test_what_the_run_cannot_do(command: Command, file: Path) -> None:
    given = command("serve", file, "--port", 0, "--target-precision", 0.9)
    assert (given.code, given.out) == (2, "")
    assert given.err.splitlines()[-1].startswith(f"fgvc: {file} is in no run folder")


def test_started_asked_and_stopped(file: Path, photos: Path) -> None:
    words = [sys.executable, "-m", "fgvc_cli", "serve", str(file), "--port", "0", "--device", "cpu"]
    server = subprocess.Popen(words, cwd=file.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    photo = (photos / "test/red/0.png").read_bytes()
    answer = urllib3.request("POST", f"{address}api/images", body=photo, retries=False).json()
    correction = f"{address}api/images/{answer['id']}/correction"
    urllib3.request("PUT", correction, json={"class": "red"}, retries=False)
    server.send_signal(signal.SIGINT)
    _, told = server.communicate(timeout=120)
    assert server.returncode == 130
    assert told.splitlines()[-1] == "fgvc: stopped; corrections are in corrections/"
    assert (file.parent / "corrections/corrections.csv").is_file()
