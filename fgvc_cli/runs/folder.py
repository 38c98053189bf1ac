"""A run folder, which holds everything about a run. This module does not import torch: listing runs must be quick."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fgvc_cli.data.images.listing import RUN_FILE
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import explained, remove_leftovers, write_json
from fgvc_cli.spec.build import validate
from fgvc_cli.spec.run import RunSpec

RUNS = Path("runs")
PLAIN = "plain"


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run, and the contents of its small files."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name, also where the path is `.` or a link."""
        return self.path.resolve().name

    @property
    def spec_file(self) -> Path:
        """The resolved spec."""
        return self.path / RUN_FILE

    @property
    def model_file(self) -> Path:
        """The selected weights; prediction needs no other file."""
        return self.path / "model.safetensors"

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

    def evaluation_file(self, split: str) -> Path:
        """The file in which `fgvc eval` stores the metrics of a split."""
        return self.path / "eval" / f"{split}.json"

    @classmethod
    def unused(cls, path: Path) -> RunFolder:
        """The folder of a new run. BadRequest if a run or anything else is there already."""
        run = cls(path)
        if run.spec_file.exists():
            raise BadRequest(f"{path} holds a run: continue it with `fgvc train --resume {path}` or give another --out")
        if path.exists() and (not path.is_dir() or any(entry.name != ".lock" for entry in path.iterdir())):
            raise BadRequest(f"{path} exists and is not a run folder: give --out a new folder")
        return run

    def create(self, spec: RunSpec) -> None:
        """Make the locked folder a run folder, by writing `spec` into it."""
        write_json(self.spec_file, spec.model_dump(mode="json"))

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run folder. BadRequest if there is none."""
        if not path.exists():
            raise BadRequest(f"there is no run at {path}: `fgvc runs` lists the runs under {RUNS}/")
        if not (path / RUN_FILE).is_file():
            raise BadRequest(f"{path} is not a run folder: it has no {RUN_FILE}")
        return cls(path)

    @classmethod
    def newest(cls, folder: Path = RUNS) -> RunFolder:
        """The run under `folder` whose model was saved last. BadRequest if there is no trained run."""
        runs = [run for run in find_runs(folder) if run.model_file.exists()]
        if not runs:
            raise BadRequest(f"no trained run under {folder}/: train one with `fgvc train` or name a run folder")
        return max(runs, key=lambda run: run.model_file.stat().st_mtime)

    def spec(self) -> RunSpec:
        """The resolved spec of the run."""
        return validate(self.read_json(RUN_FILE))

    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(self.read_json("classes.json"))

    def read_json(self, name: str) -> Any:
        """The content of a JSON file of the run. FgvcError if it cannot be read."""
        file = self.path / name
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FgvcError(f"cannot read {file}: {error}") from None

    def checkpoint_steps(self) -> list[int]:
        """Steps of the complete checkpoints, in ascending order."""
        if not self.checkpoints.is_dir():
            return []
        return sorted(int(entry.name) for entry in self.checkpoints.iterdir() if entry.name.isdigit())

    def checkpoint(self, step: int) -> Path:
        """Folder of one checkpoint."""
        return self.checkpoints / f"{step:08d}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run's folder for writing; it is created if needed. BadRequest if another process holds the lock.

        The lock is released when its process ends.
        """
        lock = FileLock(self.path / ".lock")
        with explained(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
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
    if (folder / RUN_FILE).is_file():
        return [RunFolder(folder)]
    if not folder.is_dir():
        return []
    return [RunFolder(entry) for entry in sorted(folder.iterdir()) if (entry / RUN_FILE).is_file()]


def default_path(spec: RunSpec) -> Path:
    """runs/METHOD-DATASET-DATE-TIME, with a number at the end if that folder exists."""
    stem = f"{spec.method.name}-{spec.data.dataset}-{datetime.now():%Y%m%d-%H%M%S}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(RUNS / name for name in names if not (RUNS / name).exists())
