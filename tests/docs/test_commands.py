"""Every command line in the docs is one that the command takes: no flag, command or field that is gone."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from fgvc_cli.cli.main import app
from fgvc_cli.errors import FgvcError
from fgvc_cli.share import pull
from fgvc_cli.spec.flags import spec_of
from tests.docs.pages import PAGES, ROOT, arguments, blocks, prose, typed

COMMAND = typer.main.get_command(app)
_LEFT_OUT = ("MissingParameter", "NoArgsIsHelpError", "requires an argument")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.fixture(autouse=True)
def _nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "local", lambda name, note: Path(name))


def complaint(given: list[str], *, whole: bool = True) -> str:
    """Why the command would refuse these arguments; nothing is run. Not `whole`: some may be left out."""
    command, name, rest = COMMAND, "fgvc", given
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            return f"no command {rest[0]!r} of {name}"
        command, name, rest = command.commands[rest[0]], rest[0], rest[1:]
    if command is COMMAND:
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        return "" if set(rest) <= {*known, "--help", "-h"} else f"no such option in {rest}"
    try:
        values = command.make_context(name, list(rest)).params
        return _spec_complaint(values) if given[0] == "train" and whole else ""
    except typer.Exit:  # --help
        return ""
    except FgvcError as error:
        return str(error)
    except Exception as error:
        text = f"{type(error).__name__}: {getattr(error, 'format_message', error.__repr__)()}"
        return "" if not whole and any(part in text for part in _LEFT_OUT) else text


def _spec_complaint(values: dict[str, Any]) -> str:
    if not (values["config"] or values["resume"] or values["leave_out"]):
        spec_of(values)
    return ""


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("train --epohcs 3", "epohcs"),
        ("trian", "trian"),
        ("viz hunch bird.jpg", "hunch"),
        ("train --set method.tua=0.2 --method reaps", "method.tua"),
        ("train --method reaps --preset light-foldr", "light-foldr"),
        ("train --epochs many", "--epochs"),
        ("predict --run runs/a --tops 3 bird.jpg", "tops"),
        ("predict", "PATH"),
        ("--versoin", "versoin"),
    ],
)
def test_a_stale_line_is_found(line: str, part: str) -> None:
    assert part in complaint(line.split())


def test_a_line_in_a_loop_is_read() -> None:
    code = 'for seed in 0 1; do fgvc train --seed $seed \\\n  --out "runs/a b"  # why\ndone && x -m fgvc_cli predict x'
    found = [given for words in typed(code) if (given := arguments(words)) is not None]
    assert found == [["train", "--seed", "0", "--out", "runs/a b"], ["predict", "x"]]


@every_page
def test_commands_in_blocks(page: Path) -> None:
    wrong = []
    for block in blocks(page, "sh"):
        for words in typed(block.code):
            given = arguments(words)
            reason = other(words) if given is None else complaint(given, whole="…" not in words)
            if reason:
                wrong.append(f"{page.name}:{block.line}: {' '.join(words)}: {reason}")
    assert wrong == []


def other(words: list[str]) -> str:
    """What is wrong with a command that is not fgvc: a module or an extra that is gone."""
    text = " ".join(words)
    if script := re.search(r"python -m (benchmarks\.\w+)|python ((?:benchmarks|assets)/\w+\.py)", text):
        there = importlib.util.find_spec(script[1]) if script[1] else (ROOT / script[2]).is_file()
        return "" if there else "is gone"
    extras = (
        {name for found in re.findall(r"\[([\w,]+)\]", text) for name in found.split(",")} if "pip" in words else set()
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return f"no extra {extras}" if extras - {*project["optional-dependencies"]} else ""


@every_page
def test_commands_in_the_text(page: Path) -> None:
    wrong = []
    for text in re.findall(r"`(fgvc [^`]+)`", prose(page).replace("\\|", "|")):
        for words in typed(text):
            given = arguments(words)
            if given is None or any(word.isupper() for word in given[:2]):  # `fgvc viz KIND`
                continue
            reason = complaint(given, whole=False)
            if reason:
                wrong.append(f"{text}: {reason}")
    assert wrong == []


@every_page
def test_python_compiles_and_toml_parses(page: Path) -> None:
    for block in blocks(page, "python"):
        compile("\n" * (block.line - 1) + block.code, str(page), "exec")
    for block in blocks(page, "toml"):
        tomllib.loads(block.code)


def test_blocks_are_found() -> None:
    assert sum(len(blocks(page, "sh")) for page in PAGES) > 50
    assert sum(len(blocks(page, "python")) for page in PAGES) > 10
