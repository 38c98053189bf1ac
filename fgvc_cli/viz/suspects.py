"""A contact sheet of suspicious labels, each beside the neighbours that contradict it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fgvc_cli.evaluation.labels.listing import Near, Suspect
from fgvc_cli.figures import short
from fgvc_cli.viz.neighbours import card_of
from fgvc_cli.viz.sheet import Panel, Row, Sheet, Strip, Words

_DPI = 100
_LONGEST = 24  # characters of a name


def draw_suspects(path: Path, found: Sequence[Suspect], most_pixels: int, dpi: int = _DPI) -> None:
    """Write a PNG with a row for each suspect: itself, then its neighbours with their labels."""
    Sheet([_strip(number, one, most_pixels, dpi) for number, one in enumerate(found, 1)], dpi).write(path)


def _strip(number: int, one: Suspect, most: int, dpi: int) -> Strip:
    first = Panel(card_of(one.file, most, dpi), "image", f"labelled {short(one.given, _LONGEST)}")
    near = ([one.copy] if one.copy else []) + list(one.near)
    others = [_panel(other, one.copy, most, dpi) for other in near]
    words = f"{number}. {one.given}: rather {one.suggested}?"
    return Strip((Row((first, *others)),), (Words(words, bold=True), Words(f"  {one.image}")))


def _panel(other: Near, copy: Near | None, most: int, dpi: int) -> Panel:
    below = "nearly the same image" if other is copy else f"distance {other.distance:.3f}"
    return Panel(card_of(other.file, most, dpi), short(other.name, _LONGEST), below)
