"""`fgvc predict`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.imports import quick_imports

if TYPE_CHECKING:
    from fgvc_cli.predict.answers import Answering
    from fgvc_cli.predict.asked import PredictRequest
    from fgvc_cli.predict.columns import Layout
    from fgvc_cli.progress import Reporter

_FORMATS = ("table", "json", "csv", "parquet")
_ENDINGS = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".parquet": "parquet"}
_MINUTES = 30.0  # that a process waits for the others


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Images, folders, tars, patterns, or - for a list of paths on stdin."),
    ],
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            "--model",  # torchrun takes --run for one of its own
            help="Run folder, model.safetensors, exported .onnx, or hf://OWNER/NAME. Default: the newest under runs/.",
            **options.RUN,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of most likely classes to list.")] = 5,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="table|json|csv|parquet", help="Default: by --output's extension, else table.", show_default=False
        ),
    ] = None,
    boxes: Annotated[bool, typer.Option("--boxes", help="Also list the method's boxes, in original pixels.")] = False,
    neighbours: Annotated[
        int, typer.Option(min=0, metavar="N", help="Also list the N training images that are most like the image.")
    ] = 0,
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="A prediction less likely than this is 'unsure'.")
    ] = 0.0,
    target_precision: options.TargetPrecision = None,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="An image that seems to be of no known class is 'unknown'.")
    ] = False,
    rollup: options.RollupShare = None,
    taxonomy: options.Taxonomy = None,
    set_coverage: options.SetCoverage = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "--out",
            "-o",
            help="Write to this file instead of stdout, completely or not at all; a repeated command goes on.",
        ),
    ] = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    follow_links: options.FollowLinks = None,
) -> None:
    """Classify images. Predictions go to stdout, everything else to stderr.

    An image that cannot be read is reported and the others are still classified; the exit code is then 1. Under
    torchrun the images are shared by all processes.
    """
    format = _format(format, output)

    from fgvc_cli.terminal import Console

    with quick_imports():
        from fgvc_cli.inference.pictures import Picture, find_pictures, listed
        from fgvc_cli.machine.distributed import joined, launched, on_main
        from fgvc_cli.predict.asked import PredictRequest
        from fgvc_cli.predict.rows import new_rows
        from fgvc_cli.predict.writing import about, check_output, write_answers
        from fgvc_cli.progress import Reporter

    check_output(output, format)
    reporter = Reporter(Console(stderr=True, quiet=not launched().main))

    def find() -> list[Picture]:
        return find_pictures(
            paths,
            listed(sys.stdin),
            follow_links=bool(follow_links),
            tars=True,
            note=lambda text: reporter.line(f"note: {text}"),
        )

    request = PredictRequest(
        min_confidence,
        target_precision,
        set_coverage,
        rollup,
        taxonomy,
        unknown,
        top=top,
        boxes=boxes,
        neighbours=neighbours,
    )
    with joined(_MINUTES):
        pictures = on_main(find)
        path = run or _newest(boxes, reporter)
        ready = _ready(path, request, device, precision, batch_size, reporter)
        rows = new_rows(format, [picture.name for picture in pictures], ready.classes, ready.layout)
        options = {"format": format, "precision": ready.precision, **vars(request)}
        known = about(ready.file, pictures, options) if output else {}
        counts = write_answers(ready.answer, pictures, rows, output, known, reporter)
    if counts.failed and launched().size == 1:  # torchrun would take it for a crash, and might start all over again
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Ready:
    """A model that is ready to answer."""

    file: Path
    classes: tuple[str, ...]
    precision: str
    layout: Layout
    answer: Answering


def _ready(
    path: Path,
    request: PredictRequest,
    device: str | None,
    precision: str | None,
    batch_size: int | None,
    reporter: Reporter,
) -> _Ready:
    from fgvc_cli.predict.exported import is_exported

    if is_exported(path):
        return _exported(path, request, device, precision, batch_size, reporter)
    with quick_imports():
        from fgvc_cli.inference.look import open_model
        from fgvc_cli.inference.request import EvalRequest
        from fgvc_cli.predict.asked import answers_of_run, boxes_of_run, layout_of

    model = open_model(path, EvalRequest("test", device, precision, batch_size))
    layout = layout_of(request, len(model.classes), boxes_of_run(model, request))
    about = f"{model.name}: {model.spec.method.name}, {len(model.classes)} classes, on {model.device}"
    _tell(about, model.trained.temperature, request, reporter)
    answer = answers_of_run(model, request, reporter)
    return _Ready(model.file, model.classes, model.spec.train.precision, layout, answer)


def _exported(
    path: Path,
    request: PredictRequest,
    device: str | None,
    precision: str | None,
    batch_size: int | None,
    reporter: Reporter,
) -> _Ready:
    """The same without PyTorch."""
    from fgvc_cli.predict.asked import layout_of
    from fgvc_cli.predict.exported import answers_of_export, boxes_of_export, open_for_answers

    model = open_for_answers(path, batch_size=batch_size, device=device, precision=precision)
    layout = layout_of(request, len(model.classes), boxes_of_export(model, request))
    about = f"{model.name}: {model.spec.method.name}, {len(model.classes)} classes, exported, {model.precision}, on cpu"
    _tell(about, model.temperature, request, reporter)
    answer = answers_of_export(model, request, reporter)
    return _Ready(model.file, model.classes, model.precision, layout, answer)


def _format(format: str | None, output: Path | None) -> str:
    if format is None:
        return _ENDINGS.get(output.suffix.lower(), "table") if output else "table"
    if format not in _FORMATS:
        raise BadRequest(f"--format {format}: choose {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}")
    return format


def _newest(boxes: bool, reporter: Reporter) -> Path:
    from fgvc_cli.inference.find import newest_model
    from fgvc_cli.predict.asked import has_boxes

    path = newest_model(has_boxes, "boxes") if boxes else newest_model()
    reporter.line(f"newest run{' with boxes' if boxes else ''}: {path}")
    return path


def _tell(about: str, temperature: float, request: PredictRequest, reporter: Reporter) -> None:
    """Report which model is used."""
    sure = "" if temperature == 1 else f", probabilities calibrated at temperature {temperature:.3f}"
    reporter.line(f"{about}{sure}")
    if request.min_confidence and temperature == 1:
        reporter.line(
            "note: this model has no temperature, so its probabilities may be overconfident; "
            "training with --val-fraction fits one"
        )
