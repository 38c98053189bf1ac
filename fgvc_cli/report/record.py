"""The data of a run's report, read from its folder. Missing or damaged files are reported as notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os.path import lexists
from pathlib import Path
from typing import Any, TypeVar

from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.certainty.selective import read_curve
from fgvc_cli.evaluation.confusion import ClassRow, Confusion, read_classes
from fgvc_cli.evaluation.evaluate import evaluate_run
from fgvc_cli.evaluation.results import kept_result
from fgvc_cli.inference.dataset import NoSplitError
from fgvc_cli.inference.new_photos import Named, named
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.runs.checkpoint import about_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.journal import read_metrics
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console

Tree = dict[str, Any]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Measured:
    """The results on a split. A table is None if its file cannot be read."""

    result: Tree  # eval/SPLIT.json
    rows: list[ClassRow] | None
    confusion: Confusion | None
    curve: list[tuple[float, float]] | None = None  # (coverage, accuracy) by falling confidence

    @property
    def final(self) -> dict[str, float]:
        """The metrics of the final prediction, 0..1."""
        return dict(self.result["branches"]["final"])

    @property
    def images(self) -> int:
        """Number of images of the split."""
        return int(self.result["images"])


@dataclass(frozen=True)
class Record:
    """The data of a run, as far as its folder has them."""

    run: RunFolder
    name: str
    spec: RunSpec
    classes: tuple[str, ...]
    split: str  # or the name of new photos
    about: Tree | None  # metadata of model.safetensors; None if there is no such file
    environment: Tree
    calibration: Tree | None
    epochs: list[dict[str, float]]  # rows of metrics.csv
    measured: Measured | None
    val: Tree | None  # metrics of the selected epoch on the validation split
    files: tuple[str, ...] | None  # images of the split, if fgvc made it
    notices: list[str]  # what is missing, and why
    new: Mapping[str, Any] | None = None  # what identifies new photos; None: a split of the run's own data
    data_notes: list[str] = field(default_factory=list)  # remarks on the dataset for the reader
    tree: Taxonomy | None = None  # of the classes

    @property
    def trained(self) -> int | None:
        """Number of epochs that the selected model was trained for."""
        return None if self.about is None else int(self.about["epoch"])


def read_record(run: RunFolder, name: str, request: EvalRequest, console: Console) -> Record:
    """Read everything except the images. A split or new photos without results of the model are evaluated first.

    Raises:
        FgvcError: the run's spec or classes cannot be read, without which a report is impossible, or the new photos.
        NoSplitError: the run has no such split.
    """
    notices: list[str] = []
    spec, classes = run.spec(), run.classes()
    images = named(run, request)
    about = _about(run, notices)
    epochs, problems = read_metrics(run.metrics_file)
    notices += problems
    measured = None if about is None else _measured(run, images, about, request, console, notices)
    return Record(
        run=run,
        name=name,
        spec=spec,
        classes=classes,
        split=images.name,
        about=about,
        environment=_optional(run.path / "environment.json", run.environment, notices) or {},
        calibration=_optional(run.calibration_file, run.calibration, notices),
        epochs=epochs,
        measured=measured,
        val=_val(epochs, about),
        files=_split_files(run, images.name, notices) if images.new is None else None,
        notices=notices,
        new=images.new,
        tree=_tree(run, classes, notices),
    )


def names_of(paths: list[Path]) -> list[str]:
    """Names of runs: the folders' names, or their paths if two folders have the same name."""
    names = [RunFolder(path).name for path in paths]
    return [str(path) if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]


def _about(run: RunFolder, notices: list[str]) -> Tree | None:
    try:
        return about_model(run.model_file)
    except FgvcError as error:
        advice = "" if lexists(run.model_file) else f" Continue with `fgvc train --resume {run.typed}`."
        notices.append(f"Nothing could be measured: {error}.{advice}")
        return None


def _optional(file: Path, read: Callable[[], Tree], notices: list[str]) -> Tree | None:
    """A small optional file; None, and a notice, if it cannot be read."""
    if not lexists(file):
        return None
    try:
        return read()
    except FgvcError as error:
        notices.append(str(error))
        return None


def _measured(
    run: RunFolder, images: Named, about: Tree, request: EvalRequest, console: Console, notices: list[str]
) -> Measured | None:
    """The results of this model in eval/. If they are missing or incomplete, the images are evaluated now."""
    try:
        return _read_all(run, images, about)
    except FgvcError as error:
        reason = str(error)
    try:
        console.print(f"{reason}: measuring it now")
        with run.locked():
            evaluate_run(run, request, console)
        return _read_all(run, images, about)
    except NoSplitError:
        raise
    except FgvcError as error:
        if images.new is not None:
            raise
        failed = str(error)
    notices.append(
        f"The {images.name} numbers are missing or not complete ({reason}), and measuring them failed: {failed}. "
        f"Fix this, run `fgvc eval {run.typed} --split {images.name}`, then write the report again."
    )
    return _read_some(run, images, about)


def _read_all(run: RunFolder, images: Named, about: Tree) -> Measured:
    """FgvcError if a file is missing, damaged, of another model, or from an fgvc version that wrote less."""
    classes, result = run.classes(), kept_result(run, about, images)
    files = result.get("files", {})
    if not {"calibration", "files"} <= result.keys() or not {"classes", "confusion"} <= files.keys():
        raise FgvcError(f"{run.evaluation_file(images.name)} is from an older version of fgvc")
    rows = read_classes(run.path / files["classes"])
    if tuple(row["class"] for row in rows) != classes:
        raise FgvcError(f"{run.path / files['classes']} has other classes than the run")
    confusion = Confusion.read(run.path / files["confusion"], classes)
    return Measured(result, rows, confusion, _curve(run, files))


def _read_some(run: RunFolder, images: Named, about: Tree) -> Measured | None:
    """The results that can be read if some files cannot."""
    classes = run.classes()
    try:
        result = kept_result(run, about, images)
    except FgvcError:
        return None
    rows = confusion = None
    files = result.get("files", {})
    rows = _unless_damaged(lambda: read_classes(run.path / files["classes"]))
    confusion = _unless_damaged(lambda: Confusion.read(run.path / files["confusion"], classes))
    return Measured(result, rows, confusion, _curve(run, files))


def _curve(run: RunFolder, files: Mapping[str, str]) -> list[tuple[float, float]] | None:
    return _unless_damaged(lambda: read_curve(run.path / files["selective"]))


def _unless_damaged(read: Callable[[], Found]) -> Found | None:
    try:
        return read()
    except (FgvcError, KeyError):
        return None


def _tree(run: RunFolder, classes: tuple[str, ...], notices: list[str]) -> Taxonomy | None:
    record = _optional(run.taxonomy_file, lambda: run.taxonomy() or {}, notices)
    return None if not record else Taxonomy.of_record(record).for_classes(classes)


def _val(epochs: list[dict[str, float]], about: Tree | None) -> Tree | None:
    """The val_* columns of the selected epoch's row, without the prefix."""
    if about is None:
        return None
    row = next((row for row in epochs if row["epoch"] == about["epoch"] - 1), {})
    found = {key.removeprefix("val_"): value for key, value in row.items() if key.startswith("val_")}
    return found or None


def _split_files(run: RunFolder, split: str, notices: list[str]) -> tuple[str, ...] | None:
    record = _optional(run.splits_file, run.splits, notices)
    return tuple(record["splits"][split]) if record is not None and split in record["splits"] else None
