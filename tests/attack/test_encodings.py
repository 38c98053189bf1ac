"""Streams that cannot show a character, that are closed, that nobody reads, or that are full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import small_spec

FGVC = [sys.executable, "-m", "fgvc_cli"]
SAY = """
import sys
from fgvc_cli.cli import main
from fgvc_cli.streams import say, say_json, tell
from fgvc_cli.errors import BadRequest
from fgvc_cli.cli.tables import new_table, show
from fgvc_cli.terminal import Console
def app(**more):
    say("IoU \\u2265 0.5 \\u2013 \\u2713 \\u03b1 \\u00d7 \\u2026 \\u00e9 \\u9ce5 \\udce9")
    tell("IoU \\u2265 0.5 \\u2013 \\u2713 \\u03b1 \\u00d7 \\u2026 \\u00e9 \\u9ce5 \\udce9")
    table = new_table("\\u2265", "\\u9ce5")
    table.add_row("\\u00e9", "\\u2713")
    show(table)
    Console(stderr=True).note("\\u9ce5")
    say_json({"\\u9ce5\\u2265\\U0001f600": "\\u00e9"})
    raise BadRequest("there is no \\u9ce5")
main.app = app
main.main()
"""


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONIO"))}
    return subprocess.run(command, capture_output=True, check=False, env=clean | environment, timeout=120)


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which $FGVC is the command."""
    program = f"{sys.executable} -m fgvc_cli"
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "FGVC": program, **environment},
        timeout=300,
    )


ENCODINGS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "utf-8"},
]


@pytest.mark.parametrize("environment", ENCODINGS, ids=str)
def test_what_cannot_be_shown_is_replaced(environment: dict[str, str]) -> None:
    found = run([sys.executable, "-c", SAY], **environment)
    error, out = found.stderr.decode("latin-1"), found.stdout
    assert (found.returncode, error.count("\n")) == (2, 3), error
    if environment.get("PYTHONIOENCODING", "").startswith("ascii"):
        assert out.isascii()
        assert out.startswith(b"IoU >= 0.5 - yes alpha x ... \\xe9 \\u9ce5 \\xe9\n")
        assert error.endswith("note: \\u9ce5\nfgvc: there is no \\u9ce5\n")
        assert '{"\\u9ce5\\u2265\\ud83d\\ude00": "\\u00e9"}' in out.decode()


CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("closed", CLOSED)
def test_closed_streams(closed: str) -> None:
    for command, code in (("methods", 0), ("--help", 0), ("methods nothing", 2), ("download-data", 0)):
        found = shell(f"$FGVC {command} {closed}")
        assert found.returncode == code, (command, found)
        assert "Traceback" not in found.stderr


def test_a_closed_stdout_is_not_the_next_file_that_is_opened(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom fgvc_cli.streams import prepared, say, tell\n"
        "with prepared():\n"
        f"    with open({str(tmp_path / 'x')!r}, 'w') as file:\n"
        "        say('lost'); tell('lost'); file.write(str(file.fileno()))\n"
    )
    program = f"{sys.executable} - <<'E'\n{code}\nE"
    subprocess.run(["bash", "-c", f"exec >&- 2>&-; {program}"], check=True)
    assert int((tmp_path / "x").read_text()) > 2


def test_a_reader_who_leaves_ends_a_listing_with_a_documented_code() -> None:
    found = shell("$FGVC methods | true; echo ${PIPESTATUS[0]}")
    assert (found.stdout, found.stderr) == ("141\n", "")
    found = shell("$FGVC nothing 2>&1 | true; echo ${PIPESTATUS[0]}")
    assert (found.stdout, found.stderr) == ("2\n", "")


def test_a_full_disk_behind_stdout() -> None:
    found = shell("$FGVC methods > /dev/full")
    assert (found.returncode, found.stderr) == (1, "fgvc: cannot write to stdout: No space left on device\n")
    assert shell("$FGVC nothing 2> /dev/full").returncode == 2


@pytest.mark.parametrize("tail", ["2>&1 | head -1", ">/dev/full 2>&1", ">&- 2>&-"])
def test_a_training_outlives_its_reader(photos: Path, tmp_path: Path, tail: str) -> None:
    config = tmp_path / "spec.json"
    config.write_text(small_spec(photos, "baseline", "train.epochs=1").model_dump_json())
    out = tmp_path / "run"
    found = shell(f"$FGVC train --config {config} --out {out} {tail}; echo ${{PIPESTATUS[0]}}")
    assert found.stdout.splitlines()[-1] == "0"
    assert (out / "model.safetensors").is_file()
    assert (out / "eval/test.json").is_file()
