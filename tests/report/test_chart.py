from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgvc_cli.report.chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    chart,
    epoch_steps,
    run_charts,
    shared_charts,
    steps,
)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.97, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 20.65, [0, 5, 10, 15, 20, 25]),
        (-0.5, 1, [-0.5, 0, 0.5, 1]),
        (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_round_values(low: float, high: float, expected: list[float]) -> None:
    assert steps(low, high) == pytest.approx(expected)


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e6))
def test_round_values_enclose(low: float, length: float) -> None:
    found = steps(low, low + length)
    slack = 1e-6 * (found[-1] - found[0])
    assert found[0] <= low + slack
    assert found[-1] >= low + length - slack
    assert 2 <= len(found) <= 8


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(1, 1, [1]), (1, 5, [1, 2, 3, 4, 5]), (1, 22, [1, 5, 10, 15, 20]), (3, 100, [3, 20, 40, 60, 80, 100])],
)
def test_round_epochs(first: int, last: int, expected: list[int]) -> None:
    assert epoch_steps(first, last) == expected


def test_points_lie_where_they_should() -> None:
    made = chart("Top-1", {"a": [(1, 0.0), (2, 0.5), (3, 1.0)], "none": [], "b": [(2, 0.25)]}, share=True)
    assert made is not None
    one, dot = made.lines
    middle = ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2)
    assert one.path == f"M{LEFT} {HEIGHT - BOTTOM}L{middle[0]:g} {middle[1]:g}L{WIDTH - RIGHT} {TOP}"
    assert one.values == [(1, "0.0\u00a0%"), (2, "50.0\u00a0%"), (3, "100.0\u00a0%")]
    assert dot.dot == (middle[0], HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) / 4)
    assert [tick.label for tick in made.up] == ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]
    assert [tick.place for tick in made.across] == [LEFT, middle[0], WIDTH - RIGHT]


def test_labels_tell_ticks_apart() -> None:
    for high in (3e-6, 1e-4, 0.002, 0.013, 0.3, 1, 2.2, 7, 1234, 3e7):
        made = chart("x", {"a": [(1, 0.0), (2, high)]})
        assert made is not None
        labels = [tick.label for tick in made.up]
        assert len(set(labels)) == len(labels), labels
        assert max(map(len, labels)) <= 8
        assert [float(label) for label in labels] == pytest.approx(steps(0, high))


def test_a_run_of_one_epoch_and_of_none() -> None:
    assert run_charts([]) == []
    titles = [made.title for made in run_charts([{"epoch": 0, "train_loss": 2.0, "train_top1": 0.5, "lr": 0.1}])]
    assert titles == ["Loss", "Top-1", "Learning rate"]


def test_parts_of_the_loss_only_where_there_are_several() -> None:
    rows = [{"epoch": float(epoch), "train_loss": 2.0, "train_a": 1.0, "train_b": 1.0} for epoch in range(3)]
    (_, parts) = run_charts(rows)
    assert [line.name for line in parts.lines] == ["a", "b"]
    assert [made.title for made in run_charts([{"epoch": 0, "train_loss": 2.0, "train_a": 2.0}])] == ["Loss"]


def test_the_ring_is_at_the_epoch_that_was_kept() -> None:
    rows = [{"epoch": float(epoch), "train_top1": 0.1 * epoch, "val_top1": 0.2 * epoch} for epoch in range(4)]
    (made,) = run_charts(rows, kept=3)
    training, held_out = made.lines
    assert training.ring is None
    assert held_out.ring is not None
    assert held_out.path.split("L")[2] == "{:g} {:g}".format(*held_out.ring)


def test_a_run_has_one_colour_in_all_charts() -> None:
    rows = {"a": [{"epoch": 0.0, "train_top1": 0.5}], "b": [{"epoch": 0.0, "train_top1": 0.5, "val_top1": 0.25}]}
    training, held_out = shared_charts(rows)
    assert [(line.name, line.colour) for line in training.lines] == [("a", 0), ("b", 1)]
    assert [(line.name, line.colour) for line in held_out.lines] == [("b", 1)]
