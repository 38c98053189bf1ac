"""A run folder, which holds everything about a run. This module does not import torch: listing runs must be quick."""

from __future__ import annotations

import errno
import re
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fgvc_cli.data.images.listing import RUN_FILE
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import explained, make_folder, remove_leftovers, write_json
from fgvc_cli.runs.schema import (
    Calibration,
    Classes,
    Environment,
    EvalResult,
    RunJson,
    SplitsRecord,
    TaxonomyRecord,
    checked_spec,
    read_file,
)
from fgvc_cli.spec.run import RunSpec

RUNS = Path("runs")
PLAIN = "plain"
_STEP = re.compile("[0-9]{8,15}")  # the name of a checkpoint


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run, and the contents of its small files: FgvcError, with file and field, if one cannot be read."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name, also where the path is `.` or a link."""
        return self.path.resolve().name

    @property
    def typed(self) -> str:
        """The path as one types it in a shell: those of suites have spaces."""
        return shlex.quote(str(self.path))

    @property
    def spec_file(self) -> Path:
        """The resolved spec."""
        return self.path / RUN_FILE

    @property
    def model_file(self) -> Path:
        """The selected weights; prediction needs no other file."""
        return self.path / "model.safetensors"

    @property
    def versions(self) -> Path:
        """Folder of the models before classes were enrolled or removed, numbered from 1."""
        return self.path / "versions"

    @property
    def metrics_file(self) -> Path:
        """One row per epoch."""
        return self.path / "metrics.csv"

    @property
    def events(self) -> Path:
        """Folder of the TensorBoard event files."""
        return self.path / "events"

    @property
    def checkpoints(self) -> Path:
        """Folder with one folder per checkpoint, named by its step."""
        return self.path / "checkpoints"

    @property
    def plain(self) -> RunFolder:
        """The run of the plain network whose weights this run starts from, if its spec has `backbone.plain_epochs`."""
        return RunFolder(self.path / PLAIN)

    @property
    def outermost(self) -> RunFolder:
        """The run that the user started: this one, or the run whose `plain` this one is."""
        outer = RunFolder(self.path.parent)
        return outer if self.path.name == PLAIN and outer.spec_file.is_file() else self

    @property
    def splits_file(self) -> Path:
        """The images of each split, if fgvc drew the splits."""
        return self.path / "splits.json"

    def tracker(self, name: str) -> Path:
        """The id under which a tracker knows the run."""
        return self.path / f"{name}.json"

    @property
    def tracker_log(self) -> Path:
        """What the tracker's library printed."""
        return self.path / "tracker.log"

    @property
    def calibration_file(self) -> Path:
        """The fit of the temperature, if there is a validation split."""
        return self.path / "calibration.json"

    @property
    def label_fixes_file(self) -> Path:
        """The corrections of labels that the run was made with, if there are any."""
        return self.path / "label-fixes.csv"

    @property
    def corrections(self) -> Path:
        """Folder of the answers that were corrected in `fgvc serve`."""
        return self.path / "corrections"

    @property
    def average_file(self) -> Path:
        """Which runs' weights were averaged into this run, if it is an average."""
        return self.path / "average.json"

    @property
    def labels(self) -> Path:
        """Folder of what `fgvc check-labels` finds."""
        return self.path / "labels"

    @property
    def taxonomy_file(self) -> Path:
        """The tree of the classes, if there is one."""
        return self.path / "taxonomy.json"

    @property
    def validation_file(self) -> Path:
        """What the selected model says of each validation image, by which thresholds are chosen."""
        return self.path / "validation.safetensors"

    @property
    def unknown_file(self) -> Path:
        """What tells images of unknown classes, fitted when it is first asked for."""
        return self.path / "unknown.safetensors"

    def evaluation_file(self, split: str) -> Path:
        """The file in which `fgvc eval` stores the metrics of a split."""
        return self.path / "eval" / f"{split}.json"

    @classmethod
    def unused(cls, path: Path) -> RunFolder:
        """The folder of a new run. BadRequest if a run or anything else is there already."""
        run = cls(path)
        if run.spec_file.exists():
            raise BadRequest(
                f"{path} holds a run: continue it with `fgvc train --resume {run.typed}` or give another --out"
            )
        if path.exists() and (not path.is_dir() or any(entry.name != ".lock" for entry in path.iterdir())):
            raise BadRequest(f"{path} exists and is not a run folder: give --out a new folder")
        return run

    def create(self, spec: RunSpec) -> None:
        """Make the locked folder a run folder, by writing `spec` into it."""
        make_folder(self.path)  # the folder of a plain network is created here
        write_json(self.spec_file, spec.model_dump(mode="json"))

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run folder. BadRequest if there is none."""
        try:
            found = path.stat() and (path / RUN_FILE).is_file()
        except FileNotFoundError:
            raise BadRequest(f"there is no run at {path}: `fgvc runs` lists the runs under {RUNS}/") from None
        except OSError as error:
            raise BadRequest(f"cannot open the run {path}: {error.strerror}") from None
        if not found:
            raise BadRequest(f"{path} is not a run folder: it has no {RUN_FILE}")
        return cls(path)

    @classmethod
    def newest(cls, folder: Path = RUNS) -> RunFolder:
        """The run under `folder` whose model was saved last. BadRequest if there is no trained run."""
        runs = trained_runs(folder)
        if not runs:
            raise BadRequest(f"no trained run under {folder}/: train one with `fgvc train` or name a run folder")
        return runs[0]

    def spec(self) -> RunSpec:
        """The resolved spec of the run."""
        return checked_spec(read_file(self.spec_file, RunJson), self.spec_file)

    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(read_file(self.path / "classes.json", Classes))

    def splits(self) -> dict[str, Any]:
        """The record of the splits that fgvc drew."""
        record: dict[str, Any] = read_file(self.splits_file, SplitsRecord)
        return record

    def taxonomy(self) -> dict[str, Any] | None:
        """The record of the tree of the classes; None if the run has none."""
        return read_file(self.taxonomy_file, TaxonomyRecord) if self.taxonomy_file.exists() else None

    def environment(self) -> dict[str, Any]:
        """The machine and software that the run was made with."""
        found: dict[str, Any] = read_file(self.path / "environment.json", Environment)
        return found

    def calibration(self) -> dict[str, Any]:
        """The fit of the temperature."""
        found: dict[str, Any] = read_file(self.calibration_file, Calibration)
        return found

    def evaluation(self, split: str) -> dict[str, Any]:
        """The stored result of a split."""
        result: dict[str, Any] = read_file(self.evaluation_file(split), EvalResult)
        return result

    def checkpoint_steps(self) -> list[int]:
        """Steps of the complete checkpoints, in ascending order."""
        if not self.checkpoints.is_dir():
            return []
        names = [entry.name for entry in self.checkpoints.iterdir() if entry.is_dir()]
        return sorted(int(name) for name in names if _STEP.fullmatch(name))

    def checkpoint(self, step: int) -> Path:
        """Folder of one checkpoint."""
        return self.checkpoints / f"{step:08d}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run's folder for writing; it is created if needed. BadRequest if another process holds the lock.

        The lock is released when its process ends.
        """
        with explained(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
            # Who may write to the folder may lock it.
            lock = FileLock(self.path / ".lock", mode=0o600 | stat.S_IMODE(self.path.stat().st_mode) & 0o666)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise BadRequest(f"another process is writing {self.path}: wait for it or give another --out") from None
        try:
            for folder in (self.path, self.checkpoints, self.path / "eval"):
                remove_leftovers(folder)
            yield
        finally:
            lock.release()


def find_runs(folder: Path) -> list[RunFolder]:
    """The runs directly in `folder`, sorted by name, or `folder` itself if it is a run."""
    if _is_run(folder):
        return [RunFolder(folder)]
    try:
        if not folder.is_dir():
            return []
        entries = sorted(folder.iterdir())
    except OSError as error:
        kind = BadRequest if error.errno in (errno.ENAMETOOLONG, errno.ELOOP) else FgvcError
        raise kind(f"cannot read {folder}: {error.strerror}") from None
    return [RunFolder(entry) for entry in entries if _is_run(entry)]


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run; no if that may not be known."""
    try:
        return (folder / RUN_FILE).is_file()
    except OSError:
        return False


def trained_runs(folder: Path) -> list[RunFolder]:
    """The runs of `find_runs` that have a model, the one saved last first."""
    times = {}
    for run in find_runs(folder):
        with suppress(OSError):  # no model yet, or the run was just deleted
            times[run] = run.model_file.stat().st_mtime
    return sorted(times, key=lambda run: times[run], reverse=True)


def default_path(spec: RunSpec) -> Path:
    """runs/METHOD-DATASET-DATE-TIME, with a number at the end if that folder exists."""
    stem = f"{spec.method.name}-{spec.data.dataset}-{datetime.now():%Y%m%d-%H%M%S}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(RUNS / name for name in names if not (RUNS / name).exists())
