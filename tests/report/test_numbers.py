from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest

from fgvc_cli.report.numbers import chance, differences, interval, never_predicted
from fgvc_cli.report.record import Record, names_of


@pytest.mark.parametrize(("hits", "images"), [(0, 7), (7, 7), (50, 100), (200, 480), (1, 1), (5700, 5794)])
def test_the_interval_is_scipys(hits: int, images: int) -> None:
    expected = binomtest(hits, images).proportion_ci(0.95, method="wilson")
    assert interval(hits / images, images) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_no_images_say_nothing() -> None:
    assert interval(0.0, 0) == (0.0, 1.0)


def row(name: str, images: int, precision: float | None = 0.5) -> dict[str, object]:
    return {"class": name, "images": images, "precision": precision, "recall": 0.5, "f1": 0.5}


def test_chance() -> None:
    found = chance(4, [row("a", 30), row("b", 60), row("c", 10), row("d", 0)])
    assert (found.guess, found.commonest) == (0.25, 0.6)
    assert chance(4, None).commonest is None
    assert chance(2, [row("a", 0), row("b", 0)]).commonest is None


def test_never_predicted() -> None:
    rows = [row("a", 3), row("b", 3, None), row("no images", 0, None)]
    assert never_predicted(rows) == ["b"]


def test_the_same_images_or_not(trained: Path, record_of: Callable[..., Record]) -> None:
    record = record_of(trained)
    assert record.files is not None
    assert record.measured is not None
    data = record.spec.data

    def with_data(record: Record, **changes: object) -> Record:
        return replace(record, spec=record.spec.model_copy(update={"data": data.model_copy(update=changes)}))

    assert differences([record, record]) == []
    assert differences([record, with_data(record, dataset="cub")]) == ["datasets: folder and cub"]
    assert differences([record, replace(record, classes=("a", "b"))]) == ["classes: 3 and 2, or different names"]
    fewer = replace(record, measured=replace(record.measured, result={**record.measured.result, "images": 4}))
    assert differences([record, fewer, fewer]) == ["test images: 9 and 4"]
    assert differences([record, replace(record, measured=None)]) == ["test images: 9 and None"]
    others = replace(record, files=("other.png", *record.files[1:]))
    assert differences([record, others]) == ["test images: equally many, but not the same"]
    official = replace(record, files=None)
    assert differences([official, record]) == []
    assert differences([official, with_data(record, root=Path("/elsewhere"))]) == [
        "test images: equally many, but not the same"
    ]
    moved = [with_data(official, dataset="cub"), with_data(record, dataset="cub", root=Path("/elsewhere"))]
    assert differences(moved) == []


def test_names_of_runs() -> None:
    assert names_of([Path("a/x"), Path("b/y")]) == ["x", "y"]
    assert names_of([Path("a/x"), Path("b/x"), Path("c/y")]) == ["a/x", "b/x", "y"]
