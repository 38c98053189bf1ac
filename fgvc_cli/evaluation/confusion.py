"""The confusion matrix and the table of per-class measures, as files of the run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from fgvc_cli.csv_text import csv_text, original
from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.metrics import ClassCounts, Integers, Predicted
from fgvc_cli.files import read_text, write_text
from fgvc_cli.runs.schema import ClassMeasures
from fgvc_cli.spec.complaints import readable
from fgvc_cli.values import natural

DENSE_CLASSES = 1000  # up to this number the whole matrix is written, above it only cells that are not zero
WORST = 10
_MOST = 2**53  # images of a cell: more cannot be added exactly
_COLUMNS = ("class", "images", "precision", "recall", "f1")
ClassRow = dict[str, Any]


@dataclass(frozen=True)
class Confusion:
    """The M cells of the confusion matrix that are not zero, sorted by true, then predicted class; (M,) each."""

    classes: tuple[str, ...]
    true: Integers
    predicted: Integers
    count: Integers

    @classmethod
    def of(cls, classes: tuple[str, ...], predicted: Predicted) -> Confusion:
        """Count N predictions. Memory is proportional to N, whatever the number of classes."""
        cells, count = np.unique(predicted.labels * len(classes) + predicted.classes, return_counts=True)
        return cls(classes, cells // len(classes), cells % len(classes), count)

    @classmethod
    def read(cls, path: Path, classes: tuple[str, ...]) -> Confusion:
        """Read the file of `write`. FgvcError if it is missing, damaged, or of other classes."""
        with _reading(path):
            header, *rows = csv.reader(csv_stream(path))
            cells = _dense_cells(header, rows, classes) if len(classes) <= DENSE_CLASSES else _cells(rows, classes)
            if (cells[2] < 0).any() or (cells[2] > _MOST).any():
                raise ValueError("a count is not a number of images")
            return cls(classes, *cells)

    def dense(self) -> Integers:
        """(K, K): the row is the true class, the column the predicted class."""
        matrix = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        matrix[self.true, self.predicted] = self.count
        return matrix

    def ordered(self, order: Integers) -> Confusion:
        """The same with the classes (K,) in another order."""
        place = np.argsort(order)
        true, predicted = place[self.true], place[self.predicted]
        rows = np.lexsort((predicted, true))
        classes = tuple(self.classes[label] for label in order)
        return Confusion(classes, true[rows], predicted[rows], self.count[rows])

    def worst(self, number: int = WORST) -> list[dict[str, Any]]:
        """The pairs confused most often: `true`, `predicted`, `images`, and their `share` of the true class's images.

        Among pairs with equally many images, the larger share comes first, then the order of the classes decides.
        """
        support = np.bincount(self.true, weights=self.count, minlength=len(self.classes))
        wrong = np.flatnonzero(self.true != self.predicted)
        share = self.count[wrong] / support[self.true[wrong]]
        order = wrong[np.lexsort((-share, -self.count[wrong]))][:number]  # lexsort is stable
        return [
            {
                "true": self.classes[self.true[cell]],
                "predicted": self.classes[self.predicted[cell]],
                "images": int(self.count[cell]),
                "share": float(self.count[cell] / support[self.true[cell]]),
            }
            for cell in order
        ]

    def write(self, path: Path) -> None:
        """Write a CSV: the whole matrix of up to 1,000 classes, else `true,predicted,count` of nonzero cells."""
        if len(self.classes) <= DENSE_CLASSES:
            rows = ([name, *row] for name, row in zip(self.classes, self.dense().tolist(), strict=True))
            write_csv(path, ["true \\ predicted", *self.classes], rows)
        else:
            cells = zip(self.true.tolist(), self.predicted.tolist(), self.count.tolist(), strict=True)
            named = ([self.classes[true], self.classes[guess], count] for true, guess, count in cells)
            write_csv(path, ["true", "predicted", "count"], named)


def _dense_cells(header: list[str], rows: list[list[str]], classes: tuple[str, ...]) -> tuple[Integers, ...]:
    """True class, predicted class and count of each nonzero cell, from the rows of a whole matrix."""
    if tuple(map(original, header[1:])) != classes:
        raise ValueError("its classes are not the run's")
    counts = [[natural(count) for count in row[1:]] for row in rows]
    matrix = np.array(counts, dtype=np.int64).reshape(len(classes), len(classes))
    true, predicted = np.nonzero(matrix)
    return true, predicted, matrix[true, predicted]


def _cells(rows: list[list[str]], classes: tuple[str, ...]) -> tuple[Integers, ...]:
    """The same, from rows `true,predicted,count`."""
    number = {name: label for label, name in enumerate(classes)}
    cells = [(number[original(true)], number[original(predicted)], natural(count)) for true, predicted, count in rows]
    return tuple(np.array(cells, dtype=np.int64).reshape(-1, 3).T)


def class_rows(classes: Sequence[str], counts: ClassCounts) -> list[ClassRow]:
    """One row per class: `class`, `images`, `precision`, `recall`, `f1`; None if a measure is not defined."""
    columns = {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1}
    values = {key: [None if np.isnan(value) else float(value) for value in column] for key, column in columns.items()}
    return [
        {"class": name, "images": int(counts.support[label]), **{key: values[key][label] for key in values}}
        for label, name in enumerate(classes)
    ]


def worst_classes(rows: Iterable[ClassRow], number: int = WORST) -> list[ClassRow]:
    """The classes with the lowest F1, worst first; classes without images are left out."""
    return sorted((row for row in rows if row["f1"] is not None), key=lambda row: float(row["f1"]))[:number]


def write_classes(path: Path, rows: Sequence[ClassRow]) -> None:
    """Write `class_rows` as CSV; undefined measures are left empty."""
    write_csv(path, list(rows[0]), (["" if value is None else value for value in row.values()] for row in rows))


def read_classes(path: Path) -> list[ClassRow]:
    """Read the file of `write_classes`. FgvcError, with the wrong field, if it is missing or damaged."""
    with _reading(path):
        rows = csv.DictReader(csv_stream(path))
        return [_parsed({key: value or None for key, value in row.items()}, line) for line, row in enumerate(rows, 2)]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what is wrong with a table into one line."""
    try:
        yield
    except OSError as error:
        advice = "; run `fgvc eval` again" if isinstance(error, FileNotFoundError) else ""
        raise FgvcError(f"cannot read {path}: {error.strerror or error}{advice}") from None
    except (ValueError, KeyError, OverflowError, csv.Error) as error:
        raise FgvcError(f"cannot read {path}: {error}; run `fgvc eval` again") from None


def _parsed(row: dict[str, Any], line: int) -> ClassRow:
    try:
        measured = ClassMeasures.model_validate(row | {"class": original(row["class"])})  # converts each cell's text
    except ValidationError as error:
        raise ValueError(f"line {line}: {readable(error, ClassMeasures)[0]}") from None
    return {key: value for key, value in measured.model_dump(by_alias=True).items() if key in _COLUMNS}


def csv_stream(path: Path) -> io.StringIO:
    """The text of a file of `write_csv`, for a csv reader. OSError or UnicodeDecodeError if it cannot be read."""
    return io.StringIO(read_text(path, errors="surrogateescape", newline=""), newline="")


def write_csv(path: Path, header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows as CSV, complete or not at all."""
    write_text(path, csv_text(header, rows))
