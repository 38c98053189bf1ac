"""A suite's table as Markdown, CSV, JSON and LaTeX, and as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fgvc_cli.csv_text import csv_text
from fgvc_cli.figures import new_figure, save_figure, short
from fgvc_cli.files import make_folder, write_json, write_text
from fgvc_cli.suite.results import RowResult, Spread

HEADER = (
    "row",
    "top-1",
    "difference",
    "mean per class",
    "calibration error",
    "box IoU",
    "parameters",
    "multiply-adds",
    "hours",
    "memory",
    "published",
)
_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "±": r"$\pm$", "×": r"$\times$", "–": "--"}


def write_table(folder: Path, rows: Sequence[RowResult], reference: str) -> dict[str, Path]:
    """Write table.md, .csv, .json, .tex and chart.png into a folder, each completely or not at all. Returns them."""
    make_folder(folder)
    written = {kind: folder / f"table.{kind}" for kind in ("md", "csv", "json", "tex")}
    write_text(written["md"], markdown(rows))
    write_text(written["csv"], csv_text(HEADER, [cells(row) for row in rows]))
    write_json(written["json"], [asdict(row) for row in rows])
    write_text(written["tex"], latex(rows))
    written["png"] = folder / "chart.png"
    draw(written["png"], rows, reference)
    return written


def cells(row: RowResult) -> list[str]:
    """A row as text, by HEADER; shares in per cent."""
    name = row.name if not row.unfinished else f"{row.name} (not finished: seed {', '.join(map(str, row.unfinished))})"
    return [
        name,
        _share(row.top1),
        "" if row.difference is None else difference_text(row.difference),
        _share(row.mean_per_class),
        _share(row.calibration),
        "" if row.localisation is None else _number(row.localisation, 1, 3),
        "" if row.parameters is None else f"{row.parameters / 1e6:.1f} M",
        "" if row.multiply_adds is None else f"{row.multiply_adds / 1e9:.2f} G",
        "" if row.hours is None else _number(row.hours, 1, 2),
        "" if row.memory is None else f"{row.memory.mean:.1f} GiB",
        "" if row.published is None else f"{row.published:.1f}",
    ]


def _share(spread: Spread | None) -> str:
    return "–" if spread is None else _number(spread, 100, 2)


def _number(spread: Spread, factor: float, digits: int) -> str:
    deviation = "" if spread.deviation is None else f" ± {factor * spread.deviation:.{digits}f}"
    return f"{factor * spread.mean:.{digits}f}{deviation}"


def difference_text(values: tuple[float, float, float]) -> str:
    """A difference in points with its 95 % interval."""
    middle, low, high = (100 * value for value in values)
    return f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"


def markdown(rows: Sequence[RowResult]) -> str:
    """The table in Markdown."""
    lines = [HEADER, ["---"] * len(HEADER), *map(cells, rows)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def latex(rows: Sequence[RowResult]) -> str:
    """The table in LaTeX, for the package booktabs."""
    body = "".join(f"{' & '.join(map(_escaped, line))} \\\\\n" for line in map(cells, rows))
    head = f"{' & '.join(map(_escaped, HEADER))} \\\\\n"
    columns = "l" + "r" * (len(HEADER) - 1)
    return f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head}\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def draw(path: Path, rows: Sequence[RowResult], reference: str) -> None:
    """Write a PNG: top-1 of each row with its standard deviation, the reference as a line."""
    shown = [(row.name, row.top1) for row in rows if row.top1 is not None]
    figure = new_figure(6, 1 + 0.32 * max(len(shown), 1))
    axes = figure.add_subplot()
    for place, (name, top1) in enumerate(shown):
        colour = "#888888" if name == reference else "#3b75af"
        axes.errorbar(100 * top1.mean, place, xerr=100 * (top1.deviation or 0), fmt="o", color=colour, capsize=3)
        if name == reference:
            axes.axvline(100 * top1.mean, color=colour, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(shown)), [short(name) for name, _ in shown], fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.margins(y=0.1)
    axes.set_xlabel("top-1 on the test split (%), mean ± standard deviation over seeds")
    save_figure(path, figure)
