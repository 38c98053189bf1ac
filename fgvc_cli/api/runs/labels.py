"""Labels that are likely wrong, from a program."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fgvc_cli.api.place import RunLike, place_of
from fgvc_cli.api.specs import asked_spec, tell
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.progress import Reporter
from fgvc_cli.spec.flags import sets_of
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    from fgvc_cli.data.types import DatasetIndex
    from fgvc_cli.evaluation.labels.listing import Suspect
    from fgvc_cli.inference.features.embedder import Embedder
    from fgvc_cli.inference.look import Model

    Opened = tuple[DatasetIndex, Embedder, list[Model]]

_Path: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True)
class Labels:
    """The labels of a dataset that are likely wrong."""

    suspects: tuple[Suspect, ...]  # the likeliest first
    images: int  # that were judged
    estimated: int | None  # number of wrong labels by confident learning; None without the extra `labels`
    folder: Path | None  # of suspects.csv, suspects.png and index.html, if they were written


def check_labels(
    runs: RunLike | Sequence[RunLike] = (),
    *,
    dataset: str | None = None,
    data_dir: _Path | None = None,
    backbone: str | None = None,
    label_fixes: _Path | None = None,
    set: Sequence[str] | Mapping[str, Any] | None = None,
    count: int = 100,
    by: str = "both",
    folds: int = 5,
    out: _Path | None = None,
    force: bool = False,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> Labels:
    """The labels that are likely wrong, by models that did not learn them, as `fgvc check-labels` finds them.

    Args:
        runs: a run of method probe, or runs that were trained on the images: each speaks of those it did not learn.
        dataset: without a run: classifiers on the features of a trained network, fitted to folds.
        data_dir: the folder of the data.
        backbone: the trained network, for `dataset`; so are the next two.
        label_fixes: a file of labels that are corrected already.
        set: fields of the spec, FIELD=VALUE, or field → value.
        count: the most labels to list.
        by: both, neighbours, or confident (confident learning, by the extra `labels`).
        folds: of the images, 2 to 100.
        out: folder for the list as a CSV file, a contact sheet and a page; None: nothing is written.
        force: replace a list that is there.
        device: auto, cpu, mps, cuda or cuda:N.
        batch_size: images that are computed at a time.
        progress: show notes and progress on stderr.

    Raises:
        BadRequest: a flag is wrong, or there is nothing to judge a label by.
        FgvcError: a run or an image cannot be read, or the list cannot be written.
    """
    given = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    own = {"backbone": backbone, "set": set, "label_fixes": label_fixes}
    _check(given, dataset, own, count, folds, by)
    folder = None if out is None else expanded(out)
    if folder is not None and folder.exists() and any(folder.iterdir()) and not force:
        raise BadRequest(f"{folder} exists: --force replaces the list in it, --out names another folder")
    with quick_imports():
        from fgvc_cli.evaluation.labels.judging import check_labels
        from fgvc_cli.evaluation.labels.listing import suspects

    reporter = Reporter(Console(stderr=True, quiet=not progress))
    root = None if data_dir is None else expanded(data_dir)
    if given:
        index, embedder, models = _of_runs(given, root, device, batch_size, reporter)
    else:
        fixes = None if label_fixes is None else expanded(label_fixes)
        flags = {"dataset": dataset, "data_dir": root, "backbone": backbone, "label_fixes": fixes, "sets": sets_of(set)}
        index, embedder, models = _of_dataset(flags | {"device": device, "batch_size": batch_size}, reporter)
    checked = check_labels(index, embedder, models, reporter, by=by, folds=folds)
    found = suspects(checked, count)
    if folder is not None:
        _write(folder, found, checked.estimated, embedder.spec.data.max_pixels)
    return Labels(tuple(found), len(checked.rows), checked.estimated, folder)


def _check(
    runs: Sequence[RunLike], dataset: str | None, own: Mapping[str, Any], count: int, folds: int, by: str
) -> None:
    """BadRequest for flags that are wrong or do not go together. `own`: those that only a dataset has."""
    if runs and dataset:
        raise BadRequest("give runs or --dataset, not both")
    if not runs and not dataset:
        raise BadRequest("give a run, or --dataset (folder with --data-dir, for your own photos)")
    odd = next((key for key, value in own.items() if runs and value), None)
    if odd is not None:
        raise BadRequest(f"--{odd.replace('_', '-')} is for --dataset: a run has its own")
    if count < 1:
        raise BadRequest(f"--count {count}: give at least 1")
    if not 2 <= folds <= 100:
        raise BadRequest(f"--folds {folds}: give 2 to 100")

    from fgvc_cli.evaluation.labels.ranking import WAYS

    if by not in WAYS:
        raise BadRequest(f"--by {by}: choose {', '.join(WAYS[:-1])} or {WAYS[-1]}")


def _of_runs(
    runs: Sequence[RunLike], root: Path | None, device: str | None, batch_size: int | None, reporter: Reporter
) -> Opened:
    from fgvc_cli.inference.features.embedder import Embedder
    from fgvc_cli.inference.look import open_model
    from fgvc_cli.inference.request import EvalRequest

    request = EvalRequest(None, device, batch_size=batch_size, root=root)
    models = [open_model(place_of(run), request) for run in runs]
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

    spec, choice = with_backbone(asked_spec(flags | {"method": "probe"}, reporter.console.note))
    spec = resolved(spec)
    tell(choice, reporter.console.note)
    index = open_index(RunFolder(Path("nowhere")), spec.data, reporter.console)
    method, notes = build_method(spec, len(index.classes), load_weights=True, classes=index.classes)
    for note in notes:
        reporter.console.note(note)
    return index, Embedder.of(method, spec, prepare_device(spec.train)), []


def _write(folder: Path, found: list[Suspect], estimated: int | None, most_pixels: int) -> None:
    from fgvc_cli.evaluation.labels.listing import write_suspects
    from fgvc_cli.files import make_folder
    from fgvc_cli.report.labels import write_labels_page
    from fgvc_cli.viz.suspects import draw_suspects

    make_folder(folder)
    write_suspects(folder / "suspects.csv", found)
    draw_suspects(folder / "suspects.png", found, most_pixels)
    write_labels_page(folder / "index.html", found, estimated, most_pixels)
