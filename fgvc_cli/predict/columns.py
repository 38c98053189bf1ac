"""The columns of an answer in a table for other programs: CSV and Parquet have the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from fgvc_cli.predict.answers import Answer, Failed, FoundBox

_SIDES = ("x0", "y0", "x1", "y1")


class Kind(Enum):
    """What a column holds."""

    TEXT = "text"
    COUNT = "count"
    FLAG = "flag"
    SHARE = "share"  # a probability, a score or a distance: six digits
    PIXELS = "pixels"  # a place in an image: two digits
    NAMES = "names"  # a list of texts


class Column(NamedTuple):
    """A column."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Layout:
    """What the answers of one request have, which is known before the first image is read."""

    top: int  # classes that are named
    known: bool = False  # whether an image is of a known class
    taxon: bool = False
    sets: bool = False  # prediction sets
    boxes: Mapping[str, int] = field(default_factory=dict)  # name → how many
    neighbours: int = 0

    def columns(self) -> tuple[Column, ...]:
        """All columns, in order."""
        return tuple(self._columns())

    def _columns(self) -> Iterator[Column]:
        yield from (Column("image", Kind.TEXT), Column("width", Kind.COUNT), Column("height", Kind.COUNT))
        yield from (Column("answer", Kind.TEXT), Column("unsure", Kind.FLAG))
        if self.known:
            yield from (Column("known", Kind.FLAG), Column("known_score", Kind.SHARE))
        if self.taxon:
            yield from (Column("taxon", Kind.TEXT), Column("taxon_level", Kind.TEXT))
            yield Column("taxon_probability", Kind.SHARE)
        if self.sets:
            yield from (Column("set_size", Kind.COUNT), Column("set", Kind.NAMES))
        for place in range(1, self.top + 1):
            yield from (Column(f"class_{place}", Kind.TEXT), Column(f"probability_{place}", Kind.SHARE))
        for name, count in self.boxes.items():
            for place in range(1, count + 1):
                yield from (Column(f"{name}_{place}_{side}", Kind.PIXELS) for side in _SIDES)
                yield Column(f"{name}_{place}_score", Kind.SHARE)
        for place in range(1, self.neighbours + 1):
            yield from (Column(f"neighbour_{place}", Kind.TEXT), Column(f"neighbour_{place}_class", Kind.TEXT))
            yield Column(f"neighbour_{place}_distance", Kind.SHARE)
        yield Column("error", Kind.TEXT)


def cells(row: Answer | Failed) -> dict[str, object]:
    """Column → value of one image. What it does not have is missing."""
    if isinstance(row, Failed):
        return {"image": row.picture.name, "error": row.reason}
    found: dict[str, object] = {"image": row.picture.name, "width": row.width, "height": row.height}
    found |= {"answer": row.text, "unsure": row.unsure}
    found |= _verdict(row)
    for place, guess in enumerate(row.top, 1):
        found |= {f"class_{place}": guess.name, f"probability_{place}": guess.probability}
    for name, boxes in row.boxes.items():
        for place, box in enumerate(boxes, 1):
            found |= {} if box is None else _box(f"{name}_{place}", box)
    for place, one in enumerate(row.neighbours, 1):
        name = f"neighbour_{place}"
        found |= {name: str(one.picture.file), f"{name}_class": one.name, f"{name}_distance": one.distance}
    return found


def _verdict(row: Answer) -> dict[str, object]:
    """What the rules say."""
    found: dict[str, object] = {}
    if row.known is not None:
        found |= {"known": row.known.known, "known_score": row.known.score}
    if row.taxon is not None:
        taxon = row.taxon
        found |= {"taxon": taxon.name, "taxon_level": taxon.level, "taxon_probability": taxon.probability}
    if row.choices:
        found |= {"set_size": len(row.choices), "set": row.choices}
    return found


def _box(name: str, box: FoundBox) -> dict[str, object]:
    sides = {f"{name}_{side}": x for side, x in zip(_SIDES, box.xyxy, strict=True)}
    return {**sides, f"{name}_score": box.score}
