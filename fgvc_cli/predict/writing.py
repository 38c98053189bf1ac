"""Write predictions as they come: to stdout, or to a file that is either complete or absent."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

from fgvc_cli.data.images.names import has_image_ending
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import checksum, make_parent, write_atomically
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.machine.distributed import gathered, on_main, world
from fgvc_cli.machine.interrupt import Stopped, listening
from fgvc_cli.predict.answers import Answer, Answering, Answers, Failed
from fgvc_cli.predict.arrow import arrow
from fgvc_cli.predict.rows import NO_PACKAGE, Rows
from fgvc_cli.predict.unfinished import Counts, Unfinished, marks_of
from fgvc_cli.progress import Reporter
from fgvc_cli.streams import DATA, explained_output, tell, visible_lines

Batches = Generator[list[tuple[Answer | Failed, str]], None, None]  # predictions and their texts


def check_output(path: Path | None, format: str) -> None:
    """BadRequest if `path` has the name of an image or is something other than a regular file, or if the format cannot
    be written.

    OSError if the name is so long that the folder of unfinished predictions could not be made beside it.
    """
    if format == "parquet":
        arrow(NO_PACKAGE)
        if path is None:
            raise BadRequest("--format parquet needs a file: give --output NAME.parquet")
    if path is None:
        return
    if has_image_ending(path.name):
        raise BadRequest(f"--output {path}: this is the name of an image; choose another name")
    if path.exists() and not path.is_file():
        raise BadRequest(f"--output {path}: this is not a regular file; to write there, leave --output out and use >")
    Unfinished(path, 0).folder.exists()


def about(model: Path, pictures: Sequence[Picture], options: Mapping[str, object]) -> dict[str, Any]:
    """What decides the predictions: the model's file, the images by their names, and the options."""
    names = hashlib.blake2b(digest_size=16)
    for picture in pictures:
        names.update(f"{picture.name}\0".encode("utf-8", "surrogatepass"))
    known = {key: value if isinstance(value, int | float | None) else str(value) for key, value in options.items()}
    files = {key: checksum(value) for key, value in options.items() if isinstance(value, Path)}
    listed = f"{len(pictures)} images, {names.hexdigest()}"
    return {"model": checksum(model), "list of images": listed, **known, **files}


def write_answers(
    answer: Answering,
    pictures: Sequence[Picture],
    rows: Rows,
    output: Path | None,
    about: Mapping[str, Any],
    reporter: Reporter,
) -> Counts:
    """Write the predictions for images to stdout or to the file `output`; everything else goes to stderr.

    What is predicted for a file is kept beside it (`Unfinished`), so a repeated command goes on where a stopped or
    killed one ended. Of several processes each predicts its share, and the main one writes. After Ctrl-C the current
    batch is finished first, so only complete lines are written to stdout.

    Args:
        answer: the predictions for some of the images, batch by batch and in order.
        pictures: the images; the same in all processes.
        rows: how they are written.
        output: the file; None: stdout.
        about: what decides the predictions, as JSON: a file is only gone on with if all of it is the same.
        reporter: shows the progress.

    Returns:
        The outcomes of all images, also of those predicted before.

    Raises:
        Stopped: on Ctrl-C (SIGINT) or SIGTERM, before the last image.
        BadRequest: the file was begun for another request.
        FgvcError: the predictions cannot be written.
    """
    if output is not None:
        return _to_file(answer, pictures, rows, output, about, reporter)
    if world().size > 1:
        raise BadRequest("several processes write to a file: give --output FILE")
    counts = Counts()
    try:
        _to_stdout(rows, _texts(answer(pictures), rows, len(pictures), counts, reporter), reporter, len(pictures))
    finally:
        reporter.line(str(counts))
    return counts


def _to_stdout(rows: Rows, texts: Batches, reporter: Reporter, total: int) -> None:
    stream = sys.stdout  # a progress bar replaces it by a stream that writes to stderr
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=DATA)
    try:
        with explained_output(), closing(texts):
            if not stream.isatty():  # on a terminal the predictions themselves show the progress
                reporter.begin("predicting", total)
            for text in rows.document("".join(text for _, text in batch) for batch in texts):
                _put(text, stream)
    finally:
        reporter.end()


def _put(text: str, stream: TextIO) -> None:
    """Write complete lines; on a terminal names cannot change what else it shows."""
    stream.write(visible_lines(text) if stream.isatty() else text)
    stream.flush()


def _texts(answers: Answers, rows: Rows, total: int, counts: Counts, reporter: Reporter) -> Batches:
    """The predictions with their texts. Stopped after the batch in which a signal comes, unless it is the last."""
    said = reporter.line if world().main else tell
    with listening() as wish, closing(answers):
        for batch in answers:
            yield [(row, rows.lines(row)) for row in batch]
            for row in batch:
                counts.add(marks_of(row))
                reporter.advance(1)
                if isinstance(row, Failed):
                    said(f"{row.picture.name}: {row.reason}")
            reporter.facts({"unsure": counts.unsure, "failed": counts.failed})
            if wish.stop and counts.images < total:
                raise Stopped(f"stopped after {counts.images} of {total} images")


def _to_file(
    answer: Answering,
    pictures: Sequence[Picture],
    rows: Rows,
    output: Path,
    about: Mapping[str, Any],
    reporter: Reporter,
) -> Counts:
    kept = Unfinished(output, len(pictures))
    on_main(lambda: _begin(kept, output, about))
    kept.read()
    missing = kept.missing()
    gathered(None)  # all know what is missing before any adds to it
    before = len(pictures) - len(missing)
    if before:
        reporter.line(f"{before} of {len(pictures)} images were predicted before: {kept.folder}")
    here = world()
    first, last = (len(missing) * rank // here.size for rank in (here.rank, here.rank + 1))
    try:
        _fill(kept, missing[first:last].tolist(), answer, pictures, rows, reporter)
    except BaseException:
        reporter.line(f"the predictions so far are kept in {kept.folder}: the same command goes on from there")
        kept.close()
        raise
    gathered(None)
    counts = on_main(lambda: _finish(kept, rows, output))
    reporter.line(str(counts))
    return counts


def _begin(kept: Unfinished, output: Path, about: Mapping[str, Any]) -> None:
    make_parent(output)
    kept.begin(about)


def _fill(
    kept: Unfinished,
    places: list[int],
    answer: Answering,
    pictures: Sequence[Picture],
    rows: Rows,
    reporter: Reporter,
) -> None:
    """Predict the images at these places."""
    reporter.begin("predicting", len(places))
    texts = _texts(answer([pictures[place] for place in places]), rows, len(places), Counts(), reporter)
    rest = iter(places)
    try:
        with closing(texts):
            for batch in texts:
                kept.add([(place, row, text) for (row, text), place in zip(batch, rest, strict=False)])
        kept.end()
    finally:
        reporter.end()


def _finish(kept: Unfinished, rows: Rows, output: Path) -> Counts:
    kept.read()
    write_atomically(output, lambda temporary: rows.save(temporary, kept.lines()))
    kept.remove()
    return kept.counts()
