"""Label files: lines of text with their line numbers, and tables of two columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import read_text
from fgvc_cli.values import brief, coordinate, natural


@dataclass(frozen=True)
class Line:
    """A line of a label file, with file and line number for error messages."""

    file: Path
    number: int
    text: str

    def wrong(self, what: str) -> BadRequest:
        """The error that names this line."""
        return BadRequest(f"{self.file}:{self.number}: {what}")

    def numbers(self, count: int) -> list[float]:
        """The line's `count` numbers; BadRequest for anything else."""
        words = self.text.split()
        try:
            values = [coordinate(word) for word in words]
        except ValueError:
            values = []
        if len(values) != count:
            raise self.wrong(f"expected {count} numbers, found {brief(self.text)}")
        return values

    def number_in(self, low: int, high: int) -> int:
        """The line's only integer, low..high; BadRequest for anything else."""
        if not self.text.isdecimal() or not low <= (number := self.natural()) <= high:
            raise self.wrong(f"expected a number from {low} to {high}, found {brief(self.text)}")
        return number

    def natural(self) -> int:
        """The line's only number, of up to 18 digits; BadRequest for anything else."""
        try:
            return natural(self.text)
        except ValueError as error:
            raise self.wrong(str(error)) from None


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a text file that are not blank, stripped. BadRequest if it cannot be read."""
    try:
        text = read_text(path, errors="surrogateescape")
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read ({error.strerror}); is the dataset unpacked completely?") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield Line(path, number, line.strip())


def read_table(path: Path) -> dict[str, Line]:
    """A file of lines `key rest` (the rest may hold spaces): key → rest. A key may appear only once."""
    table: dict[str, Line] = {}
    for line in read_lines(path):
        key, _, rest = line.text.partition(" ")
        if not rest:
            raise line.wrong(f"expected two columns, found {line.text!r}")
        if key in table:
            raise line.wrong(f"{key} is listed for the second time, first in line {table[key].number}")
        table[key] = Line(path, line.number, rest.strip())
    return table


def unique_names(names: Sequence[str], tidy: Sequence[str]) -> tuple[str, ...]:
    """The tidied names; classes whose tidied names are equal keep their raw names."""
    times = Counter(tidy)
    return tuple(nice if times[nice] == 1 else raw for raw, nice in zip(names, tidy, strict=True))


def named_labels(
    names: Sequence[str], raw: Sequence[int], wrong: Callable[[int, str], BadRequest]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """From N class names and official class numbers: the names in the numbers' order, and 0-based labels (N,).

    Numbers may start anywhere and have gaps, as in a subset with fewer classes. `wrong` makes the error about an image
    whose number had another name before, or whose name had another number.
    """
    name_of: dict[int, str] = {}
    number_of: dict[str, int] = {}
    for i, (name, number) in enumerate(zip(names, raw, strict=True)):
        if name_of.setdefault(number, name) != name:
            raise wrong(i, f"class {number} is {name} here, {name_of[number]} before")
        if number_of.setdefault(name, number) != number:
            raise wrong(i, f"{name} is class {number} here, {number_of[name]} before")
    order = sorted(name_of)
    return tuple(name_of[number] for number in order), np.searchsorted(order, raw).astype(np.int64)
