"""`fgvc check-labels`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.streams import say, say_json

if TYPE_CHECKING:
    from fgvc_cli.api.runs.labels import Labels

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
    usual = runs[0] / "labels" if runs else Path("labels")

    from fgvc_cli.api.runs.labels import check_labels

    found = check_labels(
        runs or (),
        dataset=dataset,
        data_dir=data_dir,
        backbone=backbone,
        label_fixes=label_fixes,
        set=sets,
        count=count,
        by=by,
        folds=folds,
        out=None if json_only else out or usual,
        force=force,
        device=device,
        batch_size=batch_size,
    )
    if json_only:
        say_json({"estimated": found.estimated, "suspects": [one.facts() for one in found.suspects]}, indent=2)
    else:
        _show(found)


def _show(found: Labels) -> None:
    from fgvc_cli.cli.tables import show
    from fgvc_cli.terminal import new_table

    table = new_table("image", "labelled", "rather", "score", "votes", "nearest", numbers=("score", "votes"))
    for one in found.suspects[:_LISTED]:
        near = one.copy or (one.near[0] if one.near else None)
        nearest = "" if near is None else f"{near.image} ({near.name}{', nearly the same' if one.copy else ''})"
        table.add_row(one.image, one.given, one.suggested, f"{one.score:.2f}", f"{one.votes:.0%}", nearest)
    listed = min(len(found.suspects), _LISTED)
    show(table, f"the first {listed} of {len(found.suspects)} suspicious labels, of {found.images} images")
    if found.estimated is not None:
        say(f"confident learning estimates {found.estimated} wrong labels", "")
    say(f"written to {found.folder}/: suspects.csv, suspects.png, index.html")
