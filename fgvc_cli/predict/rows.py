"""Predictions as text, one image at a time: a table to read, JSON lines or CSV for other programs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len

from fgvc_cli.csv_text import csv_line, harmless
from fgvc_cli.predict.answers import UNKNOWN, UNSURE, Answer, Failed, FoundBox
from fgvc_cli.streams import as_json, visible

FORMATS = ("table", "json", "csv")
_WIDEST_NAME = 60
_BOX = "box "  # before the name of a box, in a table
_LIKE = "like "  # before the class of a neighbour, in a table
_TAXON = "taxon "  # before the name of a taxon that is the answer, in a table
_SET = "set of "  # before the number of classes of a prediction set, in a table
_WORDS = (_BOX, _LIKE, _TAXON, _SET)
_SIDES = ("x0", "y0", "x1", "y1")


class Rows(ABC):
    """Turns predictions into complete lines of text."""

    @abstractmethod
    def lines(self, row: Answer | Failed) -> str:
        """The lines of one image, each ending in a newline."""

    def rest(self) -> str:
        """The text still to be written after the last image."""
        return ""


def new_rows(format: str, names: Sequence[str], classes: Sequence[str], top: int) -> Rows:
    """Rows in one of FORMATS.

    Args:
        format: one of FORMATS.
        names: names of all images to come, for the width of the table's columns.
        classes: names of the classes, also for the width of the columns.
        top: number of classes listed per image.
    """
    if format == "json":
        return JsonLines()
    return Csv(min(top, len(classes))) if format == "csv" else Table(names, classes)


class JsonLines(Rows):
    """One JSON object per line; docs/predict.md lists its keys."""

    def lines(self, row: Answer | Failed) -> str:
        """One line."""
        about = _failed(row) if isinstance(row, Failed) else _answer(row)
        return as_json(about) + "\n"


def _failed(row: Failed) -> dict[str, Any]:
    return {"image": row.picture.name, "error": row.reason}


def _answer(row: Answer) -> dict[str, Any]:
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
    """A header, then one line per image. The first prediction decides the box columns: failures wait for it."""

    def __init__(self, top: int) -> None:
        self.top = top
        self.columns: list[str] = []
        self.waiting: list[Failed] = []

    def lines(self, row: Answer | Failed) -> str:
        """One line; before the first prediction also the header and the failures so far."""
        if self.columns:
            return self._csv([self._cells(row)])
        if isinstance(row, Failed):
            self.waiting.append(row)
            return ""
        return self._begin(row.boxes, len(row.neighbours), _verdict(row)) + self._csv([self._cells(row)])

    def rest(self) -> str:
        """The header and the failures, if no image had a prediction."""
        return "" if self.columns else self._begin({})

    def _begin(
        self, boxes: dict[str, tuple[FoundBox | None, ...]], neighbours: int = 0, verdict: Iterable[str] = ()
    ) -> str:
        guesses = [f"{what}_{place}" for place in range(1, self.top + 1) for what in ("class", "probability")]
        corners = [
            f"{name}_{place}_{what}"
            for name, found in boxes.items()
            for place in range(1, len(found) + 1)
            for what in (*_SIDES, "score")
        ]
        places = range(1, neighbours + 1)
        near = [f"neighbour_{place}{what}" for place in places for what in ("", "_class", "_distance")]
        self.columns = ["image", "width", "height", "answer", "unsure", *verdict, *guesses, *corners, *near, "error"]
        return self._csv([dict(zip(self.columns, self.columns, strict=True)), *map(self._cells, self.waiting)])

    def _cells(self, row: Answer | Failed) -> dict[str, object]:
        if isinstance(row, Failed):
            return {"image": harmless(row.picture.name), "error": harmless(row.reason)}
        cells: dict[str, object] = {"image": harmless(row.picture.name), "width": row.width, "height": row.height}
        cells |= {"answer": harmless(row.text), "unsure": str(row.unsure).lower()}
        cells |= _verdict(row)
        for place, guess in enumerate(row.top, 1):
            cells |= {f"class_{place}": harmless(guess.name), f"probability_{place}": f"{guess.probability:.6f}"}
        for name, found in row.boxes.items():
            for place, box in enumerate(found, 1):
                if box is not None:
                    sides = {f"{name}_{place}_{side}": f"{x:.2f}" for side, x in zip(_SIDES, box.xyxy, strict=True)}
                    cells |= {**sides, f"{name}_{place}_score": f"{box.score:.6f}"}
        for place, one in enumerate(row.neighbours, 1):
            name = f"neighbour_{place}"
            cells |= {name: harmless(str(one.picture.file)), f"{name}_class": harmless(one.name or "")}
            cells[f"{name}_distance"] = f"{one.distance:.6f}"
        return cells

    def _csv(self, rows: Sequence[dict[str, object]]) -> str:
        return "".join(csv_line([row.get(column, "") for column in self.columns]) for row in rows)


def _verdict(row: Answer) -> dict[str, object]:
    """Column → cell, of what the rules say."""
    cells: dict[str, object] = {}
    if row.known is not None:
        cells |= {"known": str(row.known.known).lower(), "known_score": f"{row.known.score:.6f}"}
    if row.asked_taxon:
        taxon = row.taxon
        cells |= {"taxon": harmless(taxon.name) if taxon else "", "taxon_level": harmless(taxon.level) if taxon else ""}
        cells["taxon_probability"] = f"{taxon.probability:.6f}" if taxon else ""
    if row.choices:
        cells |= {"set_size": len(row.choices), "set": harmless(" | ".join(row.choices))}
    return cells


class Table(Rows):
    """Aligned lines to read, one per class or box; the first names the image. Failures are reported elsewhere.

    A class with the name of another line, such as "unsure", is in quotes.
    """

    def __init__(self, names: Sequence[str], classes: Sequence[str]) -> None:
        self.image = min(max(map(cell_len, map(visible, (*names, "image")))), _WIDEST_NAME)
        self.name = max(map(cell_len, map(visible, (*map(_quoted, classes), UNSURE, "answer"))))
        self.header = self._line("image", "answer", "probability")

    def lines(self, row: Answer | Failed) -> str:
        """The lines of a prediction, the header before the first; empty for a failure."""
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
        header, self.header = self.header, ""
        images = [row.picture.name, *[""] * len(cells)]
        return header + "".join(self._line(image, *cell) for image, cell in zip(images, cells, strict=False))

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
