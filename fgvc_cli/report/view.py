"""A run's record as the page's template wants it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fgvc_cli.evaluation.confusion import ClassRow, Confusion
from fgvc_cli.report.chart import Chart, run_charts, shared_charts
from fgvc_cli.report.gallery import Gallery
from fgvc_cli.report.matrix import Matrix, matrix, taken_for
from fgvc_cli.report.numbers import Chance, chance, differences, interval, never_predicted
from fgvc_cli.report.record import Record
from fgvc_cli.report.settings import Setting, environment, facts, settings

MOST_ROWS = 2000  # of a table of classes: more would make the page heavy, and nobody reads them


@dataclass(frozen=True)
class RunView:
    """One run on the page."""

    id: str
    record: Record
    gallery: Gallery | None
    facts: list[tuple[str, str]]
    settings: list[Setting]
    environment: list[tuple[str, str]]
    charts: list[Chart]
    matrix: Matrix | None
    classes: list[dict[str, Any]]  # the table of classes, worst first, MOST_ROWS at most
    chance: Chance
    interval: tuple[float, float] | None  # of top-1
    never: list[str]  # classes that are never predicted
    selected: str  # how the model was chosen


@dataclass(frozen=True)
class Comparison:
    """Several runs beside each other."""

    differences: list[str]  # why their numbers are not of the same images
    charts: list[Chart]
    classes: list[
        tuple[str, list[float | None]]
    ]  # class → F1 of each run, where all have the same classes, not too many


def run_view(number: int, record: Record, gallery: Gallery | None) -> RunView:
    """The view of the run that stands at a place on the page."""
    measured = record.measured
    rows = (measured.rows if measured else None) or []
    confusion = measured.confusion if measured else None
    return RunView(
        id=f"run{number}",
        record=record,
        gallery=gallery,
        facts=facts(record),
        settings=settings(record.spec),
        environment=environment(record),
        charts=run_charts(record.epochs, record.trained),
        matrix=None if confusion is None else matrix(confusion),
        classes=class_table(rows, confusion),
        chance=chance(len(record.classes), rows),
        interval=None if measured is None else interval(measured.final["top1"], measured.images),
        never=never_predicted(rows),
        selected=selected(record),
    )


def class_table(rows: list[ClassRow], confusion: Confusion | None) -> list[dict[str, Any]]:
    """The table of classes, the lowest F1 first, each with what it is taken for most often."""
    worst = {} if confusion is None else taken_for(confusion)
    table = []
    for label, row in enumerate(rows):
        other, images = worst.get(label, (None, 0))
        name = None if other is None or confusion is None else confusion.classes[other]
        table.append({**row, "taken_for": name, "times": images})
    return sorted(table, key=lambda row: 2.0 if row["f1"] is None else float(row["f1"]))[:MOST_ROWS]


def selected(record: Record) -> str:
    """One sentence: which epoch's weights these are, and why those."""
    if record.trained is None:
        return "There is no trained model yet."
    done, planned = len(record.epochs), record.spec.train.epochs
    of = f"epoch {record.trained} of {planned}"
    if record.held_out and "top1" in record.held_out:
        share = f"{100 * record.held_out['top1']:.1f} %"
        return f"The model is that of {of}: the best on the held-out part of the training images ({share} there)."
    unfinished = "" if done >= planned else " so far"
    return f"The model is that of {of}, the last{unfinished}; no epoch was chosen by its result."


def comparison(views: list[RunView]) -> Comparison:
    """What several runs have in common, and what not."""
    records = [view.record for view in views]
    tables = [record.measured.rows if record.measured else None for record in records]
    same = len({record.classes for record in records}) == 1 and len(records[0].classes) <= MOST_ROWS
    classes: list[tuple[str, list[float | None]]] = []
    if same and any(tables):
        f1 = [None if rows is None else [row["f1"] for row in rows] for rows in tables]
        classes = [
            (name, [None if column is None else column[label] for column in f1])
            for label, name in enumerate(records[0].classes)
        ]
    return Comparison(
        differences(records), shared_charts({view.record.name: view.record.epochs for view in views}), classes
    )
