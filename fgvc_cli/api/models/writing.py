"""Answers of a model written to a file or to stdout. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.machine.distributed import joined
from fgvc_cli.predict.answers import Answering
from fgvc_cli.predict.asked import PredictRequest
from fgvc_cli.predict.columns import Layout
from fgvc_cli.predict.rows import new_rows
from fgvc_cli.predict.unfinished import Counts
from fgvc_cli.predict.writing import about, write_answers
from fgvc_cli.progress import Reporter

FORMATS = ("table", "json", "csv", "parquet")
_ENDINGS = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".parquet": "parquet"}
MINUTES = 30.0  # that a process waits for the others


@dataclass(frozen=True)
class Ready:
    """A model that is ready to answer what is asked."""

    file: Path
    classes: tuple[str, ...]
    precision: str
    layout: Layout
    answer: Answering


@dataclass(frozen=True)
class Embedded:
    """Vectors that were written."""

    file: Path
    images: int
    widths: dict[str, int]  # numbers of each vector: the embedding, and each branch's if they were asked for
    failed: tuple[str, ...]  # images that could not be read, each with the reason


def format_of(format: str | None, output: Path | None) -> str:
    """How answers are written: as asked, else by the file's name. BadRequest if there is no such format."""
    if format is None:
        return _ENDINGS.get(output.suffix.lower(), "table") if output else "table"
    if format not in FORMATS:
        raise BadRequest(f"--format {format}: choose {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    return format


def write(
    ready: Ready,
    pictures: Sequence[Picture],
    request: PredictRequest,
    output: Path | None,
    format: str,
    reporter: Reporter,
) -> Counts:
    """Write the answers to pictures to a file, or without one to stdout; a repeated call goes on."""
    with joined(MINUTES):
        rows = new_rows(format, [picture.name for picture in pictures], ready.classes, ready.layout)
        options = {"format": format, "precision": ready.precision, **vars(request)}
        known = about(ready.file, pictures, options) if output else {}
        return write_answers(ready.answer, pictures, rows, output, known, reporter)


def tell(about: str, temperature: float, request: PredictRequest, reporter: Reporter) -> None:
    """Report which model answers."""
    sure = "" if temperature == 1 else f", probabilities calibrated at temperature {temperature:.3f}"
    reporter.line(f"{about}{sure}")
    if request.min_confidence and temperature == 1:
        reporter.line(
            "note: this model has no temperature, so its probabilities may be overconfident; "
            "training with --val-fraction fits one"
        )
