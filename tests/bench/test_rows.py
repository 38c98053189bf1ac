"""What follows from times, by hand."""

from __future__ import annotations

import json

import pytest

from fgvc_cli.bench.rows import Measured, Row, quantiles


def row(name: str, *rounds: tuple[float, ...], adds: int = 100, **more) -> Row:
    return Row(name, "m", "b", 64, 4, "fp32", False, 10, adds, rounds=rounds, **more)


def test_numbers_of_a_row() -> None:
    found = row("a", (4.0, 1.0, 2.0), (8.0, 3.0, 5.0))
    assert found.median == 3.5  # of 1 2 3 4 5 8
    assert found.best == 2.0  # medians of the rounds: 2 and 5
    assert found.rate == pytest.approx(4 / 3.5)


def test_quantiles() -> None:
    assert quantiles(list(range(101)), 0.1, 0.5, 0.99) == [10, 50, 99]
    assert quantiles([0.0, 1.0], 0.99) == [0.99]


def test_efficiency() -> None:
    plain, double = row("plain", (2.0,), (1.0,)), row("double", (2.5,), (9.0,), adds=200)
    found = Measured("train", 1, (plain, double))
    itself, ratios = found.ratios(plain), found.ratios(double)
    assert (itself.time, itself.multiply_adds, itself.efficiency) == (1.0, 1.0, 1.0)
    assert (ratios.time, ratios.multiply_adds) == (2.5, 2.0)
    assert ratios.efficiency == pytest.approx(0.8)
    assert ratios.median_time == pytest.approx(5.75 / 1.5)
    assert ratios.disturbed
    assert not itself.disturbed


def test_from_files_is_a_share_of_the_best_rounds() -> None:
    found = row("a", (1.0, 1.0), (2.0, 2.0), files=((3.0, 3.0), (1.25, 1.25)))
    assert found.files_share == pytest.approx(0.8)
    assert row("a", (1.0,)).files_share is None


def test_json_says_it_all_and_reads_back() -> None:
    infer = row("plain", (0.2, 0.4), single=tuple(0.001 * n for n in range(1, 102)), files=((0.25,),), peak_memory=77)
    told = Measured("infer", 2, (infer, row("other", (0.8, 0.8), adds=300), row("big", trouble="out of memory")))
    back = json.loads(json.dumps(told.as_json()))
    assert (back["what"], back["steps"]) == ("infer", 2)
    plain, other, big = back["rows"]
    assert plain["rounds"] == [[0.2, 0.4]]
    assert plain["step_ms"] == pytest.approx({"median": 300, "p10": 220, "p90": 380, "best": 300})
    assert plain["latency_ms"] == pytest.approx({"p50": 51, "p99": 100, "calls": 101})
    assert plain["from_files"] == pytest.approx({"images_per_second": 16, "share": 1.2})
    assert (plain["time_ratio"], plain["multiply_adds_ratio"], plain["efficiency"]) == (1, 1, 1)
    assert plain["peak_memory"] == 77
    assert (other["time_ratio"], other["multiply_adds_ratio"]) == pytest.approx((8 / 3, 3))
    assert other["efficiency"] == pytest.approx(9 / 8)
    assert other["images_per_second"] == pytest.approx(5)
    assert big["trouble"] == "out of memory"
    assert "time_ratio" not in big


def test_without_the_plain_one_there_are_no_ratios() -> None:
    other = row("other", (1.0,))
    assert Measured("train", 1, (row("plain", trouble="out of memory"), other)).ratios(other) is None
