"""A tree of classes: the taxa above each class, such as genus and family of a species."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASS = "class"  # the lowest level's name


@dataclass(frozen=True)
class Taxonomy:
    """The taxa above K classes.

    A taxon is known by its path from the top, so that two of one name under different parents are two. A class whose
    path is shorter than the tree is high is a taxon of its own at the levels that it lacks.

    Args:
        levels: L names, the highest first.
        classes: K names.
        paths: for each class its taxa, the highest first; at most L.
    """

    levels: tuple[str, ...]
    classes: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]

    @property
    def every_level(self) -> tuple[str, ...]:
        """The names of all L + 1 levels, the highest first, the classes last."""
        return (*self.levels, CLASS)

    @cached_property
    def _taxa(self) -> list[list[tuple[str, ...]]]:
        """For each of the L + 1 levels the path of each class's taxon."""
        whole = [(*path, name) for path, name in zip(self.paths, self.classes, strict=True)]
        shorter = [[one[: min(depth + 1, len(one))] for one in whole] for depth in range(len(self.levels))]
        return [*shorter, whole]

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """(L + 1, K): the number of each class's taxon at each level; last the class's own."""
        rows = []
        for taxa in self._taxa[:-1]:
            number = {path: place for place, path in enumerate(sorted(set(taxa)))}
            rows.append([number[path] for path in taxa])
        return np.array([*rows, range(len(self.classes))], dtype=np.int64)

    @cached_property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """For each level the names of its taxa; a name that two have is written with its parents."""
        return (*(_unique(sorted(set(taxa))) for taxa in self._taxa[:-1]), self.classes)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """(K,) the classes by the order of the tree."""
        return np.array(sorted(range(len(self.classes)), key=lambda one: self._taxa[-1][one]), dtype=np.int64)

    @classmethod
    def of_parents(cls, classes: Sequence[str], paths: Sequence[tuple[str, ...]]) -> Taxonomy:
        """From the taxa above each class, the highest first, of levels without names; a common top is no level."""
        while all(paths) and len({path[0] for path in paths}) == 1:
            paths = [path[1:] for path in paths]
        levels = tuple(f"level {number}" for number in range(1, max(map(len, paths)) + 1))
        return cls(levels, tuple(classes), tuple(paths))

    def rules(self) -> dict[int, int]:
        """Where taxa end in `order`: number of classes before → the highest level that ends there (0-based).

        Levels at which every class is alone, or all are together, end nothing.
        """
        found: dict[int, int] = {}
        for level in reversed(range(len(self.levels))):
            code = self.codes[level][self.order]
            if 1 < len(self.names[level]) < len(self.classes):
                found |= dict.fromkeys((np.flatnonzero(code[1:] != code[:-1]) + 1).tolist(), level)
        return found

    def for_classes(self, classes: Sequence[str]) -> Taxonomy:
        """The tree of other classes; those that it does not know have no taxa above."""
        path_of = dict(zip(self.classes, self.paths, strict=True))
        return Taxonomy(self.levels, tuple(classes), tuple(path_of.get(name, ()) for name in classes))

    def record(self) -> dict[str, Any]:
        """The tree as JSON."""
        return {"levels": list(self.levels), "classes": dict(zip(self.classes, map(list, self.paths), strict=True))}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Taxonomy:
        """The tree of `record`."""
        paths = record["classes"]
        return cls(tuple(record["levels"]), tuple(paths), tuple(tuple(path) for path in paths.values()))

    @classmethod
    def of_columns(cls, classes: Sequence[str], columns: Mapping[str, Sequence[str]]) -> Taxonomy:
        """From level name → (K,) taxon of each class, the highest level first; empty: the class has none there."""
        paths = [tuple(name for name in row if name) for row in zip(*columns.values(), strict=True)]
        return cls(tuple(columns), tuple(classes), tuple(paths))


def climbed(start: str, parent: Mapping[str, str]) -> tuple[str, ...]:
    """What is above `start`, the highest first, by child → parent; ValueError for a cycle."""
    path: list[str] = []
    above = parent.get(start, "")
    while above:
        if above in path or above == start:
            raise ValueError(f"{above!r} is above itself: a tree has no cycle")
        path.append(above)
        above = parent.get(above, "")
    return tuple(reversed(path))


def _unique(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    times = Counter(path[-1] for path in paths)
    return tuple(path[-1] if times[path[-1]] == 1 else " / ".join(path) for path in paths)
