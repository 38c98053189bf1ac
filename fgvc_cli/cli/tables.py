"""Results as tables on stdout."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

_MEASURES = {"top1": "top-1", "top5": "top-5", "mean_per_class": "mean per class"}


def new_table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """A plain table; the columns named in `numbers` are right-aligned."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def show(table: Table, title: str = "") -> None:
    """Print a table on stdout, under its title; as wide as it needs where nobody's terminal limits it."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    if title:
        console.print(title, highlight=False, markup=False, soft_wrap=True)
    console.print(table, highlight=False)


def print_evaluation(result: dict[str, Any]) -> None:
    """The measures of an evaluation, a row a branch, `final` first."""
    title = f"{result['run']}: {result['images']} {result['split']} images, {result['classes']} classes"
    headings = {key: (f"top-{min(5, result['classes'])}" if key == "top5" else text) for key, text in _MEASURES.items()}
    table = new_table("branch", *headings.values(), numbers=tuple(headings.values()))
    for name, measures in result["branches"].items():
        values = (f"{100 * measures[key]:.2f} %" for key in headings)
        table.add_row(name, *values, style="bold" if name == "final" else None)
    show(table, title)
    if "localisation" in result:
        _print_localisation(result["localisation"])


def _print_localisation(found: dict[str, Any]) -> None:
    """How well boxes and maps find the object, beside answers that need no look at the image."""
    boxes = new_table("box", "mean IoU", "IoU ≥ 0.5", numbers=("mean IoU", "IoU ≥ 0.5"))
    for name, measures in found["boxes"].items():
        boxes.add_row(name, f"{measures['mean_iou']:.3f}", f"{100 * measures['over_half']:.2f} %")
    show(boxes)
    if found["maps"]:
        maps = new_table("map", "peak inside the true box", numbers=("peak inside the true box",))
        for name, measures in found["maps"].items():
            maps.add_row(name, f"{100 * measures['pointing']:.2f} %")
        show(maps)
