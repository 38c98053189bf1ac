"""Line charts: the positions of lines, ticks and labels. The page's template draws them as SVG."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 440, 240  # of the drawing, in SVG user units
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 10, 28  # margins inside the drawing, for the labels

VALIDATION = "validation"
_LOSSES = "Training: the sum of the method's losses. Validation: only the cross entropy of the final prediction."
_AUGMENTED = "Training: on the augmented (cropped, flipped, mixed) images, during the epoch's optimizer steps."
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    place: float
    label: str


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    colour: int  # index of the colour; charts with the same line names use the same colours
    path: str  # SVG's `d`
    dot: tuple[float, float] | None  # the position of a line's only point, which a path would not show
    ring: tuple[float, float] | None  # the position of the selected epoch
    values: list[tuple[int, str]]  # epoch, value as text


@dataclass(frozen=True)
class Chart:
    """A chart of values by epoch (1-based), or by another whole number."""

    title: str
    note: str
    lines: list[Line]
    across: list[Tick]
    up: list[Tick]
    first: int
    last: int
    axis: str = "epoch"  # what the values are by


def chart(
    title: str,
    named: dict[str, Points],
    *,
    note: str = "",
    share: bool = False,
    kept: int | None = None,
    axis: str = "epoch",
) -> Chart | None:
    """A chart of name → (epoch, value) with ascending epochs; None if there is no value at all.

    Args:
        title: the name of the quantity.
        named: the points of each line, by its name.
        note: an explanation for the reader.
        share: whether values are fractions 0..1, shown in per cent.
        kept: the epoch that was selected by its validation value, if any.
        axis: what the values are by.
    """
    colours = {name: number for number, name in enumerate(named)}
    named = {name: points for name, points in named.items() if points}
    if not named:
        return None
    everything = [point for points in named.values() for point in points]
    epochs, values = zip(*everything, strict=True)
    first, last = min(epochs), max(epochs)
    up = steps(min(0.0, *values), max(values))
    low, high = up[0], up[-1]

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = LEFT + (point[0] - first) / max(last - first, 1) * (WIDTH - LEFT - RIGHT)
        y = TOP + (high - point[1]) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return round(x, 1), round(y, 1)

    lines = [
        _line(name, colours[name], points, [place(point) for point in points], share, kept)
        for name, points in named.items()
    ]
    across = [Tick(place((epoch, low))[0], f"{epoch:.0f}") for epoch in epoch_steps(int(first), int(last))]
    ticks = [Tick(place((first, value))[1], _text(value, share, up[1] - up[0])) for value in up]
    return Chart(title, note, lines, across, ticks, int(first), int(last), axis)


def _line(name: str, colour: int, points: Points, places: Points, share: bool, kept: int | None) -> Line:
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
    values = [(int(epoch), f"{100 * value:.1f}\u00a0%" if share else f"{value:.4g}") for epoch, value in points]
    rings = [place for (epoch, _), place in zip(points, places, strict=True) if name == VALIDATION and epoch == kept]
    ring = rings[0] if rings else None
    return Line(name, colour, path, places[0] if len(places) == 1 else None, ring, values)


def steps(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round, evenly spaced values that enclose low..high: about `wanted`, at least two."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(start, end + 1)]


def epoch_steps(first: int, last: int, wanted: int = 6) -> list[int]:
    """Round epochs within first..last, including the first: about `wanted`."""
    gap = max(1, math.ceil((last - first) / wanted))
    gap = next(step for step in _round_numbers() if step >= gap)
    return sorted({first, *range(gap * math.ceil(first / gap), last + 1, gap)})


def _round_numbers() -> Iterable[int]:
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10


def _text(value: float, share: bool, step: float) -> str:
    if share:
        return f"{100 * value:.0f} %" if step >= 0.01 else f"{100 * value:.2g} %"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{digits + (step * 10**digits % 1 > 1e-6)}f}" if 1e-4 <= step < 1e5 else f"{value:.1e}"


def column(rows: Sequence[dict[str, float]], name: str) -> Points:
    """(epoch, value) of a column of metrics.csv, with epochs counted from 1."""
    return [(row["epoch"] + 1, row[name]) for row in rows if name in row]


def run_charts(rows: Sequence[dict[str, float]], kept: int | None = None) -> list[Chart]:
    """The curves of one run: loss, top-1, the loss's components, the learning rate. `kept` is that of `chart`."""
    has_validation = any("val_top1" in row for row in rows)
    losses = sorted({key for row in rows for key in row if key.startswith("train_")} - {"train_loss", "train_top1"})
    parts = {key.removeprefix("train_"): column(rows, key) for key in losses}
    charts = [
        chart(
            "Loss",
            {"training": column(rows, "train_loss"), VALIDATION: column(rows, "val_loss")},
            note=_LOSSES if has_validation else "The sum of the method's losses.",
            kept=kept,
        ),
        chart(
            "Top-1",
            {"training": column(rows, "train_top1"), VALIDATION: column(rows, "val_top1")},
            note=_AUGMENTED + (" The ring marks the selected epoch." if has_validation else ""),
            share=True,
            kept=kept,
        ),
        chart("Components of the training loss", parts, note="Their sum is the loss.") if len(parts) > 1 else None,
        chart("Learning rate", {"learning rate": column(rows, "lr")}),
    ]
    return [one for one in charts if one is not None]


def coverage_chart(curve: Sequence[tuple[float, float]]) -> Chart | None:
    """The share of wrong answers by the percentage of images that are answered, most confident first.

    `curve`: (coverage, accuracy) of each threshold, coverage ascending to 1.
    """
    places = [coverage for coverage, _ in curve]
    points = [
        (float(share), 1 - curve[min(bisect_left(places, share / 100 - 1e-12), len(curve) - 1)][1])
        for share in range(1, 101 if curve else 1)
    ]
    return chart("Risk by coverage", {"wrong answers": points}, share=True, axis="coverage in %")


def shared_charts(named: dict[str, Sequence[dict[str, float]]]) -> list[Chart]:
    """One chart per quantity with the curves of several runs; `named` has the rows of metrics.csv by run name."""
    titles = {"train_loss": "Training loss", "train_top1": "Training top-1", "val_top1": "Validation top-1"}
    notes = {"train_loss": "The sum of each method's own losses: different methods cannot be compared by it."}
    charts = [
        chart(
            title,
            {name: column(rows, key) for name, rows in named.items()},
            note=notes.get(key, ""),
            share="top1" in key,
        )
        for key, title in titles.items()
    ]
    return [one for one in charts if one is not None]
