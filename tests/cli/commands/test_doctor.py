"""`fgvc doctor` as its user sees it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from fgvc_cli.doctor import checks
from fgvc_cli.doctor.check import Check
from tests.cli.conftest import Answer

Command = Callable[..., Answer]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    """What the checks say."""
    made = [Check("device", "ok", "cpu"), Check("extra heic", "note", "missing")]
    monkeypatch.setattr(checks, "every_check", lambda: [(check.name, lambda check=check: check) for check in made])
    return made


def test_one_line_each(command: Command, found: list[Check]) -> None:
    done = command("doctor")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == ["ok     device: cpu", "note   extra heic: missing"]
    rows = json.loads(command("doctor", "--json").out)
    assert rows[1] == {"name": "extra heic", "state": "note", "text": "missing"}


def test_what_is_needed_and_broken_is_exit_code_1(command: Command, found: list[Check]) -> None:
    found.append(Check("opencv", "broken", "libGL.so.1"))
    done = command("doctor")
    assert (done.code, done.out.splitlines()[-1]) == (1, "BROKEN opencv: libGL.so.1")
    assert command("doctor", "--json").code == 1


@pytest.mark.slow
def test_this_machine(command: Command) -> None:
    done = command("doctor", "--json")
    assert done.code == 0, done.out
    names = {row["name"] for row in json.loads(done.out)}
    assert {"fgvc", "torch", "device", "preset", "weights", "completion"} <= names
