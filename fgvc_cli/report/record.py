"""What a report says of a run, read from its folder. What is missing or damaged is told, not passed over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.confusion import ClassRow, Confusion, read_classes
from fgvc_cli.evaluation.evaluate import evaluate_run
from fgvc_cli.evaluation.results import kept_result
from fgvc_cli.inference.dataset import NoSplitError
from fgvc_cli.inference.trained import EvalRequest
from fgvc_cli.runs.checkpoint import about_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.journal import read_metrics
from fgvc_cli.spec.run import RunSpec

Tree = dict[str, Any]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Measured:
    """What was measured on a split; the tables are None where their files cannot be read."""

    result: Tree  # eval/SPLIT.json
    rows: list[ClassRow] | None
    confusion: Confusion | None

    @property
    def final(self) -> dict[str, float]:
        """The measures of the final prediction, 0..1."""
        return dict(self.result["branches"]["final"])

    @property
    def images(self) -> int:
        """Images of the split."""
        return int(self.result["images"])


@dataclass(frozen=True)
class Record:
    """A run as far as its folder tells."""

    run: RunFolder
    name: str
    spec: RunSpec
    classes: tuple[str, ...]
    split: str
    about: Tree | None  # what model.safetensors says of itself; None without one
    environment: Tree
    calibration: Tree | None
    epochs: list[dict[str, float]]  # rows of metrics.csv
    measured: Measured | None
    held_out: Tree | None  # measures on the held-out part of the epoch that was selected
    files: tuple[str, ...] | None  # images of the split, where fgvc drew it
    notices: list[str]  # what cannot be told, and why
    data_notes: list[str] = field(default_factory=list)  # what a reader should know of the images

    @property
    def trained(self) -> int | None:
        """Epochs that the selected model was trained for."""
        return None if self.about is None else int(self.about["epoch"])


def read_record(run: RunFolder, name: str, request: EvalRequest, console: Console) -> Record:
    """Everything but the images. A split that is not measured yet, or not of this model, is measured now.

    Raises:
        FgvcError: the run's spec or classes cannot be read; without them there is nothing to say.
        NoSplitError: the run has no such split.
    """
    notices: list[str] = []
    spec, classes = run.spec(), run.classes()
    about = _about(run, notices)
    epochs, problems = read_metrics(run.metrics_file)
    notices += problems
    measured = None if about is None else _measured(run, classes, about, request, console, notices)
    return Record(
        run=run,
        name=name,
        spec=spec,
        classes=classes,
        split=request.split,
        about=about,
        environment=_optional(run, "environment.json", notices) or {},
        calibration=_optional(run, "calibration.json", notices),
        epochs=epochs,
        measured=measured,
        held_out=_held_out(epochs, about),
        files=_split_files(run, request.split, notices),
        notices=notices,
    )


def names_of(paths: list[Path]) -> list[str]:
    """What to call runs: their folders' names; their paths where two folders have the same."""
    names = [path.resolve().name for path in paths]
    return [str(path) if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]


def _about(run: RunFolder, notices: list[str]) -> Tree | None:
    try:
        return about_model(run.model_file)
    except FgvcError as error:
        notices.append(f"Nothing could be measured: {error}. Go on with `fgvc train --resume {run.path}`.")
        return None


def _optional(run: RunFolder, name: str, notices: list[str]) -> Tree | None:
    """A small file that a run may lack; one that is damaged is told."""
    if not (run.path / name).exists():
        return None
    try:
        return dict(run.read_json(name))
    except (FgvcError, ValueError, TypeError) as error:
        notices.append(f"{name} is damaged: {error}")
        return None


def _measured(
    run: RunFolder, classes: tuple[str, ...], about: Tree, request: EvalRequest, console: Console, notices: list[str]
) -> Measured | None:
    """What eval/ holds of this model; measured now where it holds nothing, or less than all of it."""
    try:
        return _read_all(run, classes, about, request.split)
    except FgvcError as error:
        reason = str(error)
    try:
        console.print(f"{reason}: measuring it now", highlight=False, markup=False, soft_wrap=True)
        with run.locked():
            evaluate_run(run, request, console)
        return _read_all(run, classes, about, request.split)
    except NoSplitError:
        raise
    except FgvcError as error:
        failed = str(error)
    notices.append(
        f"The {request.split} numbers are missing or not complete ({reason}), and measuring them failed: {failed}. "
        f"When that is put right: `fgvc eval {run.path} --split {request.split}`, then report again."
    )
    return _read_some(run, classes, about, request.split)


def _read_all(run: RunFolder, classes: tuple[str, ...], about: Tree, split: str) -> Measured:
    """FgvcError where a file is missing, damaged, of another model, or from before fgvc wrote all that is shown."""
    result = kept_result(run, about, split)
    files = result.get("files", {})
    if not {"calibration", "files"} <= result.keys() or not {"classes", "confusion"} <= files.keys():
        raise FgvcError(f"{run.evaluation_file(split)} is from an older fgvc")
    rows = read_classes(run.path / files["classes"])
    if tuple(row["class"] for row in rows) != classes:
        raise FgvcError(f"{run.path / files['classes']} is of other classes")
    return Measured(result, rows, Confusion.read(run.path / files["confusion"], classes))


def _read_some(run: RunFolder, classes: tuple[str, ...], about: Tree, split: str) -> Measured | None:
    """What can be read where not everything can."""
    try:
        result = kept_result(run, about, split)
    except FgvcError:
        return None
    rows = confusion = None
    files = result.get("files", {})
    rows = _unless_damaged(lambda: read_classes(run.path / files["classes"]))
    confusion = _unless_damaged(lambda: Confusion.read(run.path / files["confusion"], classes))
    return Measured(result, rows, confusion)


def _unless_damaged(read: Callable[[], Found]) -> Found | None:
    try:
        return read()
    except (FgvcError, KeyError):
        return None


def _held_out(epochs: list[dict[str, float]], about: Tree | None) -> Tree | None:
    """The val_* columns of the selected epoch's row, without the prefix."""
    if about is None:
        return None
    row = next((row for row in epochs if row["epoch"] == about["epoch"] - 1), {})
    found = {key.removeprefix("val_"): value for key, value in row.items() if key.startswith("val_")}
    return found or None


def _split_files(run: RunFolder, split: str, notices: list[str]) -> tuple[str, ...] | None:
    record = _optional(run, "splits.json", notices)
    try:
        return None if record is None else tuple(record["splits"][split])
    except (KeyError, TypeError):
        notices.append(f"splits.json is damaged: it names no {split} images")
        return None
