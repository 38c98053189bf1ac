"""Predictions as text, one image at a time: a table to read; JSON lines, CSV or Parquet for other programs."""

from __future__ import annotations

import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from fgvc_cli.csv_text import csv_line, harmless
from fgvc_cli.files import json_text
from fgvc_cli.predict.answers import UNKNOWN, UNSURE, Answer, Failed, FoundBox
from fgvc_cli.predict.arrow import arrow, arrow_text
from fgvc_cli.predict.columns import Column, Kind, Layout, cells
from fgvc_cli.streams import DATA, as_json, visible

FORMATS = ("table", "json", "csv", "parquet")
NO_PACKAGE = ".jsonl or .csv"  # formats that need no further package
_PIECE = 8192  # images
_WIDEST_NAME = 60
_BOX = "box "  # before the name of a box, in a table
_LIKE = "like "  # before the class of a neighbour, in a table
_TAXON = "taxon "  # before the name of a taxon that is the answer, in a table
_SET = "set of "  # before the number of classes of a prediction set, in a table
_WORDS = (_BOX, _LIKE, _TAXON, _SET)


class Rows(ABC):
    """Turns predictions into complete lines of text."""

    head = ""  # what stands before the first image
    alone = False  # whether it stands there without any image, too

    @abstractmethod
    def lines(self, row: Answer | Failed) -> str:
        """The lines of one image, each ending in a newline."""

    def save(self, path: Path, lines: Iterable[str]) -> None:
        """Write a file of the lines of all images."""
        with path.open("w", encoding="utf-8", errors=DATA, newline="") as stream:
            stream.writelines(self.document(lines))

    def document(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines of all images, with what stands before them."""
        begun = False
        for text in lines:
            if text:
                yield text if begun else self.head + text
                begun = True
        if not begun and self.alone:
            yield self.head


def new_rows(format: str, names: Sequence[str], classes: Sequence[str], layout: Layout) -> Rows:
    """Rows in one of FORMATS.

    Args:
        format: one of FORMATS.
        names: names of all images to come, for the width of the table's columns.
        classes: names of the classes, also for the width of the columns.
        layout: what the answers have.
    """
    if format in ("csv", "parquet"):
        return (Csv if format == "csv" else Parquet)(layout.columns())
    return JsonLines() if format == "json" else Table(names, classes)


class JsonLines(Rows):
    """One JSON object per line; docs/predict.md lists its keys."""

    def lines(self, row: Answer | Failed) -> str:
        """One line."""
        about = _failed(row) if isinstance(row, Failed) else answer_facts(row)
        return as_json(about) + "\n"


def _failed(row: Failed) -> dict[str, Any]:
    return {"image": row.picture.name, "error": row.reason}


def answer_facts(row: Answer) -> dict[str, Any]:
    """An answer as JSON; docs/predict.md lists the keys."""
    about: dict[str, Any] = {"image": row.picture.name, "width": row.width, "height": row.height}
    about |= {"answer": row.text, "unsure": row.unsure}
    if row.known is not None:
        about["known"] = {"known": row.known.known, "score": round(row.known.score, 6)}
        about["known"] |= {"threshold": round(row.known.threshold, 6), "by": row.known.by}
    if row.taxon is not None:
        taxon = row.taxon
        about["taxon"] = {"name": taxon.name, "level": taxon.level, "probability": round(taxon.probability, 6)}
    if row.choices:
        about["set"] = list(row.choices)
    about["top"] = [{"class": guess.name, "probability": round(guess.probability, 6)} for guess in row.top]
    if row.boxes:
        about["boxes"] = {name: [_box(box) for box in boxes if box is not None] for name, boxes in row.boxes.items()}
    if row.neighbours:
        about["neighbours"] = [
            {"image": str(one.picture.file), "class": one.name, "distance": round(one.distance, 6)}
            for one in row.neighbours
        ]
    return about


def _box(box: FoundBox) -> dict[str, Any]:
    return {"xyxy": [round(side, 2) for side in box.xyxy], "score": round(box.score, 6)}


class Csv(Rows):
    """A header, then one line per image."""

    alone = True

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self.head = csv_line([column.name for column in columns])

    def lines(self, row: Answer | Failed) -> str:
        """One line."""
        found = cells(row)
        return csv_line([_CSV[kind](found[name]) if found.get(name) is not None else "" for name, kind in self.columns])


_CSV: dict[Kind, Callable[[Any], str]] = {
    Kind.TEXT: harmless,
    Kind.COUNT: str,
    Kind.FLAG: lambda flag: str(flag).lower(),
    Kind.SHARE: "{:.6f}".format,
    Kind.PIXELS: "{:.2f}".format,
    Kind.NAMES: lambda names: harmless(" | ".join(names)),
}


class Parquet(Rows):
    """The columns of Csv with their types. The line of an image is a JSON list of its values."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns

    def lines(self, row: Answer | Failed) -> str:
        """One line."""
        found = cells(row)
        return json_text([found.get(column.name) for column in self.columns]) + "\n"

    def save(self, path: Path, lines: Iterable[str]) -> None:
        """Write a Parquet file, in pieces."""
        pa, parquet = arrow(NO_PACKAGE)
        types = {Kind.TEXT: pa.string(), Kind.COUNT: pa.int32(), Kind.FLAG: pa.bool_(), Kind.SHARE: pa.float32()}
        types |= {Kind.PIXELS: pa.float32(), Kind.NAMES: pa.list_(pa.string())}
        schema = pa.schema([(arrow_text(column.name), types[column.kind]) for column in self.columns])
        rest = iter(lines)
        with parquet.ParquetWriter(path, schema) as writer:
            while piece := [json.loads(line) for line in itertools.islice(rest, _PIECE)]:
                columns = [list(map(_storable, values)) for values in zip(*piece, strict=True)]
                arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
                writer.write_table(pa.table(arrays, schema=schema))


def _storable(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(arrow_text, value))
    return arrow_text(value) if isinstance(value, str) else value


class Table(Rows):
    """Aligned lines to read, one per class or box; the first names the image. Failures are reported elsewhere.

    A class with the name of another line, such as "unsure", is in quotes.
    """

    def __init__(self, names: Sequence[str], classes: Sequence[str]) -> None:
        self.image = min(max(map(cell_len, map(visible, (*names, "image")))), _WIDEST_NAME)
        self.name = max(map(cell_len, map(visible, (*map(_quoted, classes), UNSURE, "answer"))))
        self.head = self._line("image", "answer", "probability")

    def lines(self, row: Answer | Failed) -> str:
        """The lines of a prediction; empty for a failure."""
        if isinstance(row, Failed):
            return ""
        cells = [(_quoted(guess.name), f"{100 * guess.probability:9.2f} %") for guess in row.top]
        if not row.plain:
            cells.insert(0, _first(row))
        if row.choices:
            cells.append((f"{_SET}{len(row.choices)}", "  ".join(map(visible, row.choices))))
        for name, boxes in row.boxes.items():
            cells += [(f"{_BOX}{name}", _sides(box)) for box in boxes if box is not None]
        cells += [(f"{_LIKE}{one.name or '?'}", f"{one.distance:9.4f}  {one.picture.name}") for one in row.neighbours]
        images = [row.picture.name, *[""] * len(cells)]
        return "".join(self._line(image, *cell) for image, cell in zip(images, cells, strict=False))

    def _line(self, image: str, name: str, value: str) -> str:
        return f"{_wide(image, self.image)}  {_wide(name, self.name)}  {value}".rstrip() + "\n"


def _first(row: Answer) -> tuple[str, str]:
    """The line of an answer that is not the most likely class."""
    if row.known is not None and not row.known.known:
        return UNKNOWN, f"{row.known.by} {row.known.score:.4g}, known from {row.known.threshold:.4g}"
    if row.taxon is not None and not row.unsure:
        return f"{_TAXON}{row.taxon.name}", f"{100 * row.taxon.probability:9.2f} %  {visible(row.taxon.level)}"
    return row.text, ""


def _quoted(name: str) -> str:
    """A class's name, in quotes where a reader would take it for one of the table's own words."""
    return f"'{name}'" if name in (UNSURE, UNKNOWN) or name.startswith((*_WORDS, "'")) else name


def _sides(box: FoundBox) -> str:
    return " ".join(f"{side:7.1f}" for side in box.xyxy) + f"   {box.score:.3f}"


def _wide(text: str, width: int) -> str:
    """The text on one line, padded with spaces to `width` columns; a longer text is not cut."""
    text = visible(text)
    return text + " " * (width - cell_len(text))
