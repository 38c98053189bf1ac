"""Names that look alike: of classes and files, between folders, tables, splits and runs.

Two names *look the same* if they differ only in what is not seen: the Unicode form (ü as one character or as u with a
mark), characters without width, the number and kind of blanks. Two names are *alike* if they also differ in case or in
compatible characters (a full-width letter, a ligature).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cached_property, lru_cache

_JOINERS = "\u200c\u200d"  # parts of the spelling in Persian, in Indian scripts and in emoji
_SHOWN = 3  # code points of a difference that are shown


def tidy(name: str) -> str:
    """The name in composed form, without blanks at its ends and characters that have neither width nor meaning.

    A name that holds nothing else is returned as it is.
    """
    if name.isascii():
        return " ".join(name.split()) or name
    kept = "".join(letter for letter in name if letter in _JOINERS or unicodedata.category(letter) != "Cf")
    return " ".join(unicodedata.normalize("NFC", kept).split()) or name


@lru_cache(maxsize=65536)
def look(name: str) -> str:
    """The same text for names that look the same."""
    return tidy(name.translate(dict.fromkeys(map(ord, _JOINERS))))


@lru_cache(maxsize=65536)
def folded(name: str) -> str:
    """The same text for names that are alike."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", look(name)).casefold())


class Alike:
    """Names to find other spellings of a name in."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def find(self, name: str) -> str | None:
        """The name itself if it is there, else the only one that looks the same, else the only one alike, else None."""
        if name in self._names:
            return name
        for group in (self._same.get(look(name), ()), self._near.get(folded(name), ())):
            if len(group) == 1:
                return group[0]
        return None

    def hint(self, name: str) -> str:
        """What an error about a missing name adds: the names alike and what differs; empty if there are none."""
        group = self._near.get(folded(name), ())
        if not group:
            return ""
        shown = " and ".join(f"{other!r} ({difference(name, other)})" for other in group[:2])
        return f"; there is {shown}"

    @cached_property
    def _same(self) -> dict[str, list[str]]:
        return _grouped((look(name), name) for name in sorted(self._names))

    @cached_property
    def _near(self) -> dict[str, list[str]]:
        return _grouped((folded(name), name) for name in sorted(self._names))


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, name in pairs:
        groups.setdefault(key, []).append(name)
    return groups


def difference(one: str, other: str) -> str:
    """What differs between two names, in visible characters, such as `U+00FC against U+0075 U+0308`."""
    if one.casefold() == other.casefold():
        return "only upper and lower case differ"
    start = _agreeing(one, other)
    end = _agreeing(one[start:][::-1], other[start:][::-1])
    return f"{_points(one[start : len(one) - end])} against {_points(other[start : len(other) - end])}"


def _agreeing(one: str, other: str) -> int:
    """The number of letters at the beginning that agree."""
    return next(
        (i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


def _points(text: str) -> str:
    points = [f"U+{ord(letter):04X}" for letter in text]
    return " ".join(points[:_SHOWN]) + (" ..." if len(points) > _SHOWN else "") if points else "nothing"
