"""`fgvc check-labels`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgvc_cli.cli import options
from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.streams import say, say_json

if TYPE_CHECKING:
    from fgvc_cli.data.types import DatasetIndex
    from fgvc_cli.inference.features.embedder import Embedder
    from fgvc_cli.inference.look import Model
    from fgvc_cli.progress import Reporter

    Opened = tuple[DatasetIndex, Embedder, list[Model]]
_LISTED = 20  # rows printed


def check_labels(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Run folders; or none, and --dataset: folds on the features of a trained network."),
    ] = None,
    dataset: options.Dataset = None,
    data_dir: options.DataDir = None,
    backbone: options.Backbone = None,
    label_fixes: options.LabelFixes = None,
    sets: options.Sets = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of labels to list.")] = 100,
    by: Annotated[
        str, typer.Option(help="both, neighbours, or confident (confident learning, by the extra `labels`).")
    ] = "both",
    folds: Annotated[int, typer.Option(min=2, max=100, help="Folds of the images.")] = 5,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the list. Default: labels/, in the run's folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing list.")] = False,
    json_only: Annotated[bool, typer.Option("--json", help="Print only JSON on stdout, and write nothing.")] = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
) -> None:
    """List the labels that are likely wrong, from models that did not learn them.

    A run of method probe, or --dataset: classifiers on frozen features, fitted to folds, in seconds. Runs that were
    trained on the images: each speaks of those that it did not learn.

    The list is a CSV file, a contact sheet and a page, each image beside those that contradict it. Your files are never
    changed: fill in the column `label` and give the list to `fgvc train --label-fixes`.
    """
    if runs and dataset:
        raise BadRequest("give runs or --dataset, not both")
    if not runs and not dataset:
        raise BadRequest("give a run, or --dataset (folder with --data-dir, for your own photos)")

    from fgvc_cli.evaluation.labels.ranking import WAYS

    if by not in WAYS:
        raise BadRequest(f"--by {by}: choose {', '.join(WAYS[:-1])} or {WAYS[-1]}")

    from fgvc_cli.terminal import Console

    with quick_imports():
        from fgvc_cli.evaluation.labels.judging import check_labels
        from fgvc_cli.evaluation.labels.listing import suspects
        from fgvc_cli.progress import Reporter

    reporter = Reporter(Console(stderr=True))
    folder = out or (runs[0] / "labels" if runs else Path("labels"))
    if folder.exists() and any(folder.iterdir()) and not force and not json_only:
        raise BadRequest(f"{folder} exists: --force replaces the list in it, --out names another folder")
    flags: dict[str, Any] = {"dataset": dataset, "data_dir": data_dir, "backbone": backbone, "label_fixes": label_fixes}
    flags |= {"device": device, "batch_size": batch_size, "sets": sets}
    index, embedder, models = _of_runs(runs, flags, reporter) if runs else _of_dataset(flags, reporter)
    checked = check_labels(index, embedder, models, reporter, by=by, folds=folds)
    found = suspects(checked, count)
    if json_only:
        say_json({"estimated": checked.estimated, "suspects": [one.facts() for one in found]}, indent=2)
        return
    _write(folder, found, checked.estimated, embedder.spec.data.max_pixels)
    _show(folder, found, len(checked.rows), checked.estimated)


def _of_runs(runs: list[Path], flags: dict[str, Any], reporter: Reporter) -> Opened:
    from fgvc_cli.inference.features.embedder import Embedder
    from fgvc_cli.inference.look import open_model
    from fgvc_cli.inference.request import EvalRequest

    for key in ("backbone", "sets", "label_fixes"):
        if flags[key]:
            raise BadRequest(f"--{key.replace('_', '-')} is for --dataset: a run has its own")
    request = EvalRequest(None, flags["device"], batch_size=flags["batch_size"], root=flags["data_dir"])
    models = [open_model(path, request) for path in runs]
    for model in models:
        reporter.line(f"{model.name}: {model.spec.method.name} on {model.device}")
    index = models[0].open_images(reporter.console).index
    frozen = len(models) == 1 and models[0].spec.embeds_once
    return index, Embedder.of_model(models[0]), [] if frozen else models


def _of_dataset(flags: dict[str, Any], reporter: Reporter) -> Opened:
    from fgvc_cli.backbones import resolved, with_backbone
    from fgvc_cli.inference.dataset import open_index
    from fgvc_cli.inference.features.embedder import Embedder
    from fgvc_cli.machine.device import prepare_device
    from fgvc_cli.methods import build_method
    from fgvc_cli.runs.folder import RunFolder

    spec, choice = with_backbone(options.spec_of(flags | {"method": "probe"}))
    spec = resolved(spec)
    if choice is not None:
        reporter.line(f"note: {choice}")
    index = open_index(RunFolder(Path("nowhere")), spec.data, reporter.console)
    method, notes = build_method(spec, len(index.classes), load_weights=True, classes=index.classes)
    for note in notes:
        reporter.line(f"note: {note}")
    return index, Embedder.of(method, spec, prepare_device(spec.train)), []


def _write(folder: Path, found: list[Any], estimated: int | None, most_pixels: int) -> None:
    from fgvc_cli.evaluation.labels.listing import write_suspects
    from fgvc_cli.files import make_folder
    from fgvc_cli.report.labels import write_labels_page
    from fgvc_cli.viz.suspects import draw_suspects

    make_folder(folder)
    write_suspects(folder / "suspects.csv", found)
    draw_suspects(folder / "suspects.png", found, most_pixels)
    write_labels_page(folder / "index.html", found, estimated, most_pixels)


def _show(folder: Path, found: list[Any], images: int, estimated: int | None) -> None:
    from fgvc_cli.cli.tables import new_table, show

    table = new_table("image", "labelled", "rather", "score", "votes", "nearest", numbers=("score", "votes"))
    for one in found[:_LISTED]:
        near = one.copy or (one.near[0] if one.near else None)
        nearest = "" if near is None else f"{near.image} ({near.name}{', nearly the same' if one.copy else ''})"
        table.add_row(one.image, one.given, one.suggested, f"{one.score:.2f}", f"{one.votes:.0%}", nearest)
    show(table, f"the first {min(len(found), _LISTED)} of {len(found)} suspicious labels, of {images} images")
    if estimated is not None:
        say(f"confident learning estimates {estimated} wrong labels", "")
    say(f"written to {folder}/: suspects.csv, suspects.png, index.html")
