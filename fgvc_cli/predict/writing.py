"""Answers written as they come: to stdout, or to a file that is whole or not there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from fgvc_cli.data.images.read import is_image_name
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import explained, write_atomically
from fgvc_cli.machine.interrupt import Stopped, listening
from fgvc_cli.predict.answers import Answer, Answers, Failed
from fgvc_cli.predict.rows import Rows, on_one_line
from fgvc_cli.progress import Reporter

_ERRORS = "backslashreplace"  # of a file name that is no UTF-8: JSON stays JSON


@dataclass
class Counts:
    """Pictures by what became of them."""

    predicted: int = 0  # of them:
    unsure: int = 0
    failed: int = 0

    def add(self, row: Answer | Failed) -> None:
        """Count one."""
        self.failed += isinstance(row, Failed)
        self.predicted += isinstance(row, Answer)
        self.unsure += isinstance(row, Answer) and row.unsure

    def __str__(self) -> str:
        return f"{self.predicted} predicted, {self.unsure} of them unsure, {self.failed} failed"


def check_output(path: Path | None) -> None:
    """BadRequest where answers in `path` would take the place of something that is surely no list of answers."""
    if path is not None and is_image_name(path.name):
        raise BadRequest(f"--output {path}: that is the name of an image")
    if path is not None and path.exists() and not path.is_file():
        raise BadRequest(f"--output {path}: that is no file; to send answers there, leave --output out and use >")


def write_answers(answers: Answers, rows: Rows, total: int, output: Path | None, reporter: Reporter) -> Counts:
    """Write the answers to `total` pictures to stdout, or to the file `output`; the rest is told on stderr.

    Ctrl-C ends the batch under way first: what is written are whole lines. Of a file that cannot be finished the
    lines so far are kept beside it, under its name with `.partial` behind it.

    Raises:
        Stopped: on request.
        FgvcError: it cannot be written.
    """
    counts = Counts()

    def write(stream: TextIO) -> None:
        _write(answers, rows, total, stream, reporter, counts)

    try:
        if output is None:
            _to_stdout(write)
        else:
            write_atomically(output, lambda temporary: _to_file(temporary, output, write, reporter))
    finally:
        reporter.line(str(counts))
    return counts


def _to_stdout(write: Callable[[TextIO], None]) -> None:
    stream = sys.stdout  # a progress bar puts another in its place, which writes to stderr
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=_ERRORS)
    with explained("the answers to stdout"):
        write(stream)


def _to_file(temporary: Path, output: Path, write: Callable[[TextIO], None], reporter: Reporter) -> None:
    try:
        with temporary.open("w", encoding="utf-8", errors=_ERRORS, newline="") as stream:
            write(stream)
    except OSError:
        raise
    except Exception:
        partial = output.with_name(output.name + ".partial")
        temporary.replace(partial)
        reporter.line(f"the answers so far are in {partial}")
        raise


def _write(answers: Answers, rows: Rows, total: int, stream: TextIO, reporter: Reporter, counts: Counts) -> None:
    if not stream.isatty():  # there the answers themselves show how far it is
        reporter.begin("predicting", total)
    try:
        with listening() as wish, closing(answers):
            for batch in answers:
                stream.write("".join(map(rows.lines, batch)))
                stream.flush()
                _count(batch, reporter, counts)
                done = counts.predicted + counts.failed
                if wish.stop and done < total:
                    raise Stopped(f"stopped after {done} of {total} images")
            stream.write(rows.rest())
            stream.flush()
    finally:
        reporter.end()


def _count(batch: list[Answer | Failed], reporter: Reporter, counts: Counts) -> None:
    for row in batch:
        counts.add(row)
        reporter.advance(1)
        if isinstance(row, Failed):
            reporter.line(f"{on_one_line(row.picture.name)}: {row.reason}")
    reporter.facts({"unsure": counts.unsure, "failed": counts.failed})
