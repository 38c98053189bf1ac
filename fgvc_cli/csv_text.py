"""CSV that people open in a spreadsheet: text never becomes a formula there, and reads back as it was."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

# Spreadsheets take a cell for a formula if it begins with one of these (OWASP, "CSV Injection"), also in full width.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")


def harmless(text: str) -> str:
    """Text as the content of a cell: with an apostrophe in front if a spreadsheet would compute it."""
    return f"'{text}" if _FORMULA.match(text) else text


def original(cell: str | None) -> str:
    """The text that `harmless` made this cell of. ValueError for None, the cell of a line that is too short."""
    if cell is None:
        raise ValueError("a line is too short")
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_text(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A header and rows as CSV. Every string is made harmless; numbers stay as they are."""
    return "".join(
        csv_line([harmless(cell) if isinstance(cell, str) else cell for cell in row]) for row in (header, *rows)
    )


def csv_line(cells: Sequence[Any]) -> str:
    """One row, ending in a newline. Python puts cells into quotes only if they hold a part of the row's end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"
