"""The experiment trackers that a run can be followed in, and what each of them must do."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.imports import has_module

PROJECT = "fgvc"  # of runs for which the tracker's own variable names no other
Outcome = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Start:
    """What a tracker is told of a run first."""

    name: str  # the run folder's
    id: str  # of a new run, for trackers that take one
    known: str | None  # the id under which this tracker knows the run; None: it is new
    params: Mapping[str, Any]  # run.json: field → value


@dataclass(frozen=True)
class Started:
    """What the tracker says of the run."""

    id: str
    where: str  # an address or a place on disk


class Tracker(ABC):
    """A run in a tracker. Whatever fails raises any exception, whose text is shown."""

    @abstractmethod
    def start(self, start: Start) -> Started:
        """Begin a run, or go on with one."""

    @abstractmethod
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Name → value at an optimizer step. A resumed run repeats the steps since its last checkpoint."""

    @abstractmethod
    def pictures(self, files: Mapping[str, Path], step: int) -> None:
        """Name → PNG file."""

    @abstractmethod
    def finish(self, outcome: Outcome) -> None:
        """Send what is left; the run may be gone on with later."""


@dataclass(frozen=True)
class Kind:
    """A tracker that can be chosen."""

    package: str  # that is imported
    extra: str  # of fgvc, which installs it
    tracker: str  # "module:class"


_HOME = "fgvc_cli.runs.tracking"
TRACKERS = {
    "wandb": Kind("wandb", "wandb", f"{_HOME}.of_wandb:Wandb"),
    "mlflow": Kind("mlflow", "mlflow", f"{_HOME}.of_mlflow:Mlflow"),
    "trackio": Kind("trackio", "trackio", f"{_HOME}.of_trackio:Trackio"),
}


def check_tracker(name: str | None) -> None:
    """BadRequest if the tracker's package is missing."""
    if name is not None and not has_module(TRACKERS[name].package):
        kind = TRACKERS[name]
        raise BadRequest(f"--track {name} needs {kind.package}: pip install 'fgvc[{kind.extra}]'")


def made(tracker: str) -> Tracker:
    """The tracker "module:class"."""
    module, name = tracker.split(":")
    found: Tracker = getattr(importlib.import_module(module), name)()
    return found
