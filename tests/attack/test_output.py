"""Names that hold markup or control sequences are shown as they are, in every table, note and error."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fgvc_cli import streams
from fgvc_cli.cli import tables
from fgvc_cli.cli.main import explain
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.predict.answers import Answer, Guess
from fgvc_cli.predict.rows import JsonLines
from fgvc_cli.predict.rows import Table as Rows
from fgvc_cli.predict.writing import _put
from fgvc_cli.progress import Reporter
from fgvc_cli.terminal import Console

ODD = {  # a name, and how it is shown
    "reaps[lr0.1]": "reaps[lr0.1]",
    "[/]": "[/]",
    "[bold red]x[/bold red]": "[bold red]x[/bold red]",
    "[link=file:///x]y": "[link=file:///x]y",
    ":smile:": ":smile:",
    "\x1b[2J\x1b]0;title\x07": r"\x1b[2J\x1b]0;title\x07",
    "\x9b31m": r"\x9b31m",
    "two\nlines\r": r"two\nlines\r",
    "a\u202eb\u2066c": r"a\u202eb\u2066c",
    "caf\udce9.png": r"caf\xe9.png",
    "鳥 é 한\u3000글": "鳥 é 한\u3000글",
}
odd = pytest.mark.parametrize(("name", "shown"), ODD.items(), ids=range(len(ODD)))
PACKAGE = Path(streams.__file__).parent


@odd
def test_tables_notes_and_lines(name: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = tables.new_table("run", "class")
    table.add_row(name, "x", style="bold")
    tables.show(table, f"title of {name}")
    tables.say(name, name)
    streams.tell(name)
    Reporter(Console(stderr=True)).line(name)
    Console(stderr=True).note(name)
    found = capsys.readouterr()
    assert [found.out.count(shown), found.err.count(shown)] == [4, 3]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\udce9]", found.out + found.err)
    assert len(found.err.splitlines()) == 3


@odd
def test_progress_bars(name: str, shown: str) -> None:
    file = io.StringIO()
    reporter = Reporter(Console(file=file, force_terminal=True, width=200, color_system=None))
    reporter.begin(name, 2)
    reporter.advance(1)
    reporter.facts({name: 1.0})
    reporter.end()
    assert shown in file.getvalue()
    unknown = set(re.findall("\x1b[^a-zA-Z]*[a-zA-Z]", file.getvalue())) - {
        "\x1b[?25l",
        "\x1b[?25h",
        "\x1b[2K",
        "\x1b[1A",
    }
    assert not unknown


@odd
def test_json_is_harmless_and_means_the_same(name: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    streams.say_json({name: name}, indent=2)
    answer = Answer(Picture(name, Path(name)), 3, 4, (Guess(name, 1.0),), False, {})
    texts = capsys.readouterr().out, JsonLines().lines(answer)
    assert [json.loads(texts[0]), json.loads(texts[1])["answer"]] == [{name: name}, name]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\udce9]", "".join(texts))


@odd
def test_predictions_on_a_terminal(name: str, shown: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    answer = Answer(Picture(name, Path(name)), 3, 4, (Guess(name, 1.0),), False, {})
    terminal, file = Terminal(), io.StringIO()
    _put(Rows([name], [name]).lines(answer), terminal)
    assert terminal.getvalue().count(shown) == 2
    _put(f"{name}\n", file)
    assert file.getvalue() == f"{name}\n"  # elsewhere it is data


@odd
def test_errors_are_one_line(name: str, shown: str) -> None:
    error = subprocess.run(
        [sys.executable, "-m", "fgvc_cli", "runs", "--nothing", os.fsencode(name)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert (error.returncode, len(error.stderr.splitlines())) == (2, 1)
    assert explain(BadRequest(f"there is no {name}"))[0] == f"fgvc: there is no {name}"


def test_lines_of_an_error_are_its_arguments() -> None:
    assert str(BadRequest("a", "b")) == "a\nb"
    assert explain(BadRequest("a", "b")) == ("fgvc: a", 2)


def test_nothing_is_printed_elsewhere() -> None:
    """Whatever prints does so through streams.py or the console of terminal.py, which escape."""
    direct = re.compile(
        r"typer\.echo|click\.echo|rich\.print|(?<![\w.])print\(|rich\.console|from_markup|stdout\.write|stderr\.write"
    )
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if file.name not in ("streams.py", "terminal.py") and direct.search(file.read_text(encoding="utf-8"))
    }
    assert not found
