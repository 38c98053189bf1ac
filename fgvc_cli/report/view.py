"""A run's record in the form that the page's template needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fgvc_cli.evaluation.confusion import ClassRow, Confusion
from fgvc_cli.report.chart import Chart, coverage_chart, run_charts, shared_charts
from fgvc_cli.report.gallery import Gallery
from fgvc_cli.report.matrix import Matrix, main_confusions, matrix
from fgvc_cli.report.numbers import Chance, chance, differences, interval, never_predicted
from fgvc_cli.report.record import Record
from fgvc_cli.report.settings import Setting, environment, facts, settings

MOST_ROWS = 2000  # of a table of classes, to limit the size of the page


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
    coverage: Chart | None
    matrix: Matrix | None
    classes: list[dict[str, Any]]  # the table of classes, lowest F1 first, at most MOST_ROWS
    chance: Chance
    interval: tuple[float, float] | None  # of top-1
    never: list[str]  # classes that are never predicted
    labels: bool  # whether `fgvc check-labels` has written its page into the run's folder
    selected: str  # how the epoch was selected


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side."""

    differences: list[str]  # why their results are not of the same images
    charts: list[Chart]
    classes: list[
        tuple[str, list[float | None]]
    ]  # class → F1 of each run, if all have the same classes, at most MOST_ROWS


def run_view(number: int, record: Record, gallery: Gallery | None, *, labels: bool = False) -> RunView:
    """The view of the run with a number on the page, from 1. `labels`: link the page of suspicious labels beside it."""
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
        coverage=coverage_chart((measured.curve if measured else None) or []),
        matrix=None if confusion is None else matrix(confusion, record.tree),
        classes=class_table(rows, confusion),
        chance=chance(len(record.classes), rows),
        interval=None if measured is None else interval(measured.final["top1"], measured.images),
        never=never_predicted(rows),
        labels=labels and (record.run.labels / "index.html").is_file(),
        selected=selected(record),
    )


def class_table(rows: list[ClassRow], confusion: Confusion | None) -> list[dict[str, Any]]:
    """The table of classes, lowest F1 first, each with its most frequent wrong prediction."""
    worst = {} if confusion is None else main_confusions(confusion)
    table = []
    for label, row in enumerate(rows):
        other, images = worst.get(label, (None, 0))
        name = None if other is None or confusion is None else confusion.classes[other]
        table.append({**row, "predicted_as": name, "times": images})
    return sorted(table, key=lambda row: 2.0 if row["f1"] is None else float(row["f1"]))[:MOST_ROWS]


def selected(record: Record) -> str:
    """One sentence: the epoch of the weights, and how it was selected."""
    if record.trained is None:
        return "There is no trained model yet."
    done, planned = len(record.epochs), record.spec.train.epochs
    of = f"epoch {record.trained} of {planned}"
    if record.val and "top1" in record.val:
        share = f"{100 * record.val['top1']:.1f} %"
        return f"The weights are those of {of}, which had the best top-1 on the validation split ({share})."
    unfinished = "" if done >= planned else " so far"
    return f"The weights are those of {of}, the last epoch{unfinished}; no validation result was used to select it."


def comparison(views: list[RunView]) -> Comparison:
    """The comparison of several runs."""
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
