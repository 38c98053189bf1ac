"""`fgvc eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.errors import BadRequest
from fgvc_cli.streams import say_json


def evaluate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run folder, or hf://OWNER/NAME. Default: the newest under runs/.",
            metavar="RUN",
            parser=options.run_path,
        ),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Measure several runs together, by the mean of their probabilities.")
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="An exported .onnx in the place of a run: no PyTorch is loaded."),
    ] = None,
    split: options.Split = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Show all classes, not only the ten worst.")] = False,
    json_only: Annotated[bool, typer.Option("--json", help="Print only JSON on stdout.")] = False,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    compile: options.Compile = None,
    workers: options.Workers = None,
    data_dir: options.DataDir = None,
    name: options.NewName = None,
    unknown_classes: options.UnknownClasses = "error",
    localisation: Annotated[
        bool | None,
        typer.Option(
            "--localisation/--no-localisation",
            help="Measure boxes and maps where true boxes are known; default: unless features are computed once.",
        ),
    ] = None,
    retrieval: Annotated[
        bool | None,
        typer.Option(
            "--retrieval/--no-retrieval",
            help="Measure whether the nearest others are of an image's class; default: if features are computed once.",
        ),
    ] = None,
    unknown: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|left-out|CLASSES",
            help="Measure how well unknown images are told: those of a folder, or of classes that the run left out.",
        ),
    ] = None,
    target_precision: options.TargetPrecision = None,
    set_coverage: options.SetCoverage = None,
    rollup: options.RollupShare = None,
    taxonomy: options.Taxonomy = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the results. Default: eval/ in the run's folder; none of an ensemble."
        ),
    ] = None,
) -> None:
    """Evaluate a run's model on a split: accuracy of every branch, calibration, boxes and maps, confusions.

    The results are saved in the run's eval/ folder, with the table of all classes and the confusion matrix. If that
    folder cannot be written, they are printed all the same.

    If --data-dir holds other labelled photos than the run's own, in class folders or a CSV file, all of them are
    measured, their classes are matched by name, and the results are kept under the folder's name or --name.
    """
    flags = {key: value for key, value in locals().items() if key not in ("runs", "model", "json_only")}

    from fgvc_cli.api.runs.evaluation import measured, measured_file
    from fgvc_cli.runs.folder import RunFolder
    from fgvc_cli.terminal import Console

    console, failed = Console(stderr=True), None
    if model is not None and runs:
        raise BadRequest("name a run or --model, not both")
    if model is not None:
        result = measured_file(model, flags, console)
    else:
        folders = [RunFolder.open(run) for run in runs] if runs else [RunFolder.newest()]
        if not runs:
            console.print(f"newest run: {folders[0].path}")
        result, failed = measured(folders, flags, console)

    from fgvc_cli.cli.tables import print_evaluation

    if json_only:
        say_json(result)
    else:
        print_evaluation(result, out)
    if failed is not None:
        raise failed
