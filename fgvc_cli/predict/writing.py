"""Write predictions as they come: to stdout, or to a file that is either complete or absent."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from fgvc_cli.data.images.names import has_image_ending
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import make_parent, write_atomically
from fgvc_cli.machine.interrupt import Stopped, listening
from fgvc_cli.predict.answers import UNSURE, Answer, Answers, Failed
from fgvc_cli.predict.rows import Rows
from fgvc_cli.progress import Reporter
from fgvc_cli.streams import DATA, explained_output, visible_lines


@dataclass
class Counts:
    """Numbers of images by outcome."""

    predicted: int = 0
    unsure: int = 0  # of the predicted
    unknown: int = 0  # of the predicted
    failed: int = 0
    written: int = 0  # bytes of the complete lines, in UTF-8

    def add(self, row: Answer | Failed) -> None:
        """Count one image."""
        self.failed += isinstance(row, Failed)
        self.predicted += isinstance(row, Answer)
        self.unsure += isinstance(row, Answer) and row.text == UNSURE and not row.plain
        self.unknown += isinstance(row, Answer) and row.known is not None and not row.known.known

    def __str__(self) -> str:
        unknown = f", {self.unknown} unknown" if self.unknown else ""
        return f"{self.predicted} predicted, {self.unsure} of them unsure{unknown}, {self.failed} failed"


def check_output(path: Path | None) -> None:
    """BadRequest if `path` has the name of an image or is something other than a regular file.

    OSError if the name is so long that the file of unfinished predictions could not be made beside it.
    """
    if path is not None and has_image_ending(path.name):
        raise BadRequest(f"--output {path}: this is the name of an image; choose another name")
    if path is not None and path.exists() and not path.is_file():
        raise BadRequest(f"--output {path}: this is not a regular file; to write there, leave --output out and use >")
    if path is not None:
        _partial(path).exists()


def _partial(output: Path) -> Path:
    """The file that keeps the predictions if the output cannot be finished."""
    return output.with_name(output.name + ".partial")


def write_answers(answers: Answers, rows: Rows, total: int, output: Path | None, reporter: Reporter) -> Counts:
    """Write the predictions for `total` images to stdout or to the file `output`; everything else goes to stderr.

    After Ctrl-C the current batch is finished first, so only complete lines are written. If a file cannot be
    finished, the lines so far are kept beside it, in a file with `.partial` appended to its name.

    Raises:
        Stopped: on Ctrl-C (SIGINT) or SIGTERM, before the last image.
        FgvcError: the predictions cannot be written.
    """
    counts = Counts()

    def write(stream: TextIO) -> None:
        _write(answers, rows, total, stream, reporter, counts)

    try:
        if output is None:
            _to_stdout(write)
        else:
            make_parent(output)
            write_atomically(output, lambda temporary: _to_file(temporary, output, write, reporter, counts))
    finally:
        reporter.line(str(counts))
    return counts


def _to_stdout(write: Callable[[TextIO], None]) -> None:
    stream = sys.stdout  # a progress bar replaces it by a stream that writes to stderr
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=DATA)
    with explained_output():
        write(stream)


def _to_file(
    temporary: Path, output: Path, write: Callable[[TextIO], None], reporter: Reporter, counts: Counts
) -> None:
    try:
        with temporary.open("w", encoding="utf-8", errors=DATA, newline="") as stream:
            write(stream)
    except Exception:
        os.truncate(temporary, counts.written)  # a full disk may have taken half a line
        partial = _partial(output)
        temporary.replace(partial)
        reporter.line(f"the predictions so far are in {partial}")
        raise


def _write(answers: Answers, rows: Rows, total: int, stream: TextIO, reporter: Reporter, counts: Counts) -> None:
    if not stream.isatty():  # on a terminal the predictions themselves show the progress
        reporter.begin("predicting", total)
    try:
        with listening() as wish, closing(answers):
            for batch in answers:
                _put("".join(map(rows.lines, batch)), stream, counts)
                _count(batch, reporter, counts)
                done = counts.predicted + counts.failed
                if wish.stop and done < total:
                    raise Stopped(f"stopped after {done} of {total} images")
            _put(rows.rest(), stream, counts)
    finally:
        reporter.end()


def _put(text: str, stream: TextIO, counts: Counts) -> None:
    """Write complete lines; on a terminal names cannot change what else it shows."""
    stream.write(visible_lines(text) if stream.isatty() else text)
    stream.flush()
    counts.written += len(text.encode("utf-8", DATA))


def _count(batch: list[Answer | Failed], reporter: Reporter, counts: Counts) -> None:
    for row in batch:
        counts.add(row)
        reporter.advance(1)
        if isinstance(row, Failed):
            reporter.line(f"{row.picture.name}: {row.reason}")
    reporter.facts({"unsure": counts.unsure, "failed": counts.failed})
