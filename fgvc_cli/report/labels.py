"""The page of suspicious labels: each image beside those that contradict it; it needs no network and no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgvc_cli.evaluation.labels.listing import Near, Suspect
from fgvc_cli.files import write_text
from fgvc_cli.report.embedded import data_uri, thumbnail
from fgvc_cli.report.page import rendered

_SIDE = 200  # pixels


@dataclass(frozen=True)
class Shown:
    """An image on the page."""

    uri: str
    name: str  # its label
    file: str
    words: str


@dataclass(frozen=True)
class Doubt:
    """A suspect on the page."""

    suspect: Suspect
    own: Shown
    others: list[Shown]


def write_labels_page(path: Path, found: Sequence[Suspect], estimated: int | None, most_pixels: int) -> None:
    """Write the page, complete or not at all.

    Args:
        path: the HTML file.
        found: the suspects, the likeliest first.
        estimated: number of wrong labels by confident learning, if that is installed.
        most_pixels: an image with more is not read.
    """
    doubts = [_doubt(one, most_pixels) for one in found]
    write_text(path, rendered("labels.html", title="Suspicious labels", doubts=doubts, estimated=estimated))


def _doubt(one: Suspect, most: int) -> Doubt:
    near = ([one.copy] if one.copy else []) + list(one.near)
    own = Shown(data_uri(thumbnail(one.file, _SIDE, most)), one.given, one.image, f"in {one.split}")
    return Doubt(one, own, [_shown(other, one.copy, most) for other in near])


def _shown(near: Near, copy: Near | None, most: int) -> Shown:
    words = "nearly the same image" if near is copy else f"distance {near.distance:.3f}"
    return Shown(data_uri(thumbnail(near.file, _SIDE, most)), near.name, near.image, words)
