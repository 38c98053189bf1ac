"""`fgvc doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from fgvc_cli.streams import say, say_json

_MARKS = {"ok": "ok     ", "note": "note   ", "broken": "BROKEN "}


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list: name, state, text of each check.")] = False,
) -> None:
    """Check this machine: versions, device, image formats, disk, missing extras, weights, and which preset fits it.

    Takes some seconds. The exit code is 1 if something that is needed does not work.
    """
    from fgvc_cli.api.machine import check_machine

    found = []
    for check in check_machine():
        found.append(check)
        if not json:
            say(f"{_MARKS[check.state]}{check.name}: {check.text}")
    if json:
        say_json([check.as_json() for check in found], indent=2)
    if any(check.state == "broken" for check in found):
        raise typer.Exit(1)
