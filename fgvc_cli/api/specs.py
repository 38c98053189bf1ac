"""Flags as a spec, with what the user should know of it. Nothing here imports torch before the flags are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.spec.build import recipe_note
from fgvc_cli.spec.flags import spec_of
from fgvc_cli.spec.run import RunSpec

Note = Callable[[str], object]


def asked_spec(flags: Mapping[str, Any], note: Note) -> RunSpec:
    """The validated spec that flags ask for (`spec_of`). A note tells where there is no published recipe."""
    spec = spec_of(flags)
    tell(recipe_note(spec), note)
    return spec


def resolved_spec(flags: Mapping[str, Any], note: Note) -> RunSpec:
    """The same, with the preprocessing of the starting weights in place of `auto`."""
    spec = asked_spec(flags, note)

    with quick_imports():
        from fgvc_cli.backbones import resolved

    return resolved(spec)


def tell(line: str | None, note: Note) -> None:
    """Note a line, if there is one."""
    if line:
        note(line)
