"""The classes of a user's own images, from their names as written in folders or a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fgvc_cli.data.alike import Alike, difference, folded, look, tidy
from fgvc_cli.data.formats.own import natural_key


@dataclass(frozen=True)
class ClassNames:
    """The classes, and what each written name stands for."""

    classes: tuple[str, ...]  # of the training images, in natural order
    label_of: Mapping[str, int]  # name as written, in any split → label
    notes: tuple[str, ...]

    def hint(self, name: str) -> str:
        """What an error about a name without training images adds: the classes that look alike."""
        return Alike(self.classes).hint(name)


def class_names(trained: Iterable[str], others: Iterable[str]) -> ClassNames:
    """The classes of the written names of the training images; `others` are the names in other splits.

    Names that look the same are one class, since nobody could tell them apart. Names of training images that differ in
    case stay two (a and A may be two letters), while another split's name means the only class that it is alike to.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(trained):
        groups.setdefault(look(name), []).append(name)
    written = {tidy(names[0]): sorted(names, key=lambda name: name != tidy(name)) for names in groups.values()}
    classes = tuple(sorted(written, key=natural_key))
    known = Alike(classes)
    for name in dict.fromkeys(others):
        found = known.find(name)
        if found is not None and name not in written[found]:
            written[found].append(name)
    label_of = {name: label for label, shown in enumerate(classes) for name in written[shown]}
    notes = _merged_note(list(written.values())) + _apart_note(classes) + _joined_note(classes)
    return ClassNames(classes, label_of, notes)


def _merged_note(groups: Sequence[Sequence[str]]) -> tuple[str, ...]:
    several = [names for names in groups if len(names) > 1]
    if not several:
        return ()
    one, other = several[0][:2]
    which = f"{one!r} and {other!r}: {difference(one, other)}"
    if len(several) == 1:
        return (f"two spellings of a class name are read as one class ({which})",)
    return (f"{len(several)} class names have two spellings, which are read as one class (first: {which})",)


def _apart_note(classes: Sequence[str]) -> tuple[str, ...]:
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(folded(name), []).append(name)
    pairs = [names for names in groups.values() if len(names) > 1]
    if not pairs:
        return ()
    one, other = pairs[0][:2]
    more = f" (and {len(pairs) - 1} more such pairs)" if len(pairs) > 1 else ""
    return (
        f"{one!r} and {other!r} are two classes that look alike: {difference(one, other)}; "
        f"if they are one, give them one name{more}",
    )


def _joined_note(classes: Sequence[str]) -> tuple[str, ...]:
    """A note on names that other tools read as several labels of one image.

    With a comma only if each part is in another name as well, since "Finch, elm" is one name.
    """
    parts = {name: _parts(name) for name in classes}
    times = Counter(part for them in parts.values() for part in set(them))
    joined = [
        name
        for name, them in parts.items()
        if len(them) > 1 and ("|" in name or ";" in name or all(times[part] > 1 for part in them))
    ]
    if not joined:
        return ()
    more = f" (and {len(joined) - 1} more such names)" if len(joined) > 1 else ""
    return (f"{joined[0]!r} is read as one class, where other tools read several labels of an image{more}",)


def _parts(name: str) -> list[str]:
    return [part for part in map(str.strip, re.split(r"[|;,]", name)) if part]
