"""A run in a program. Nothing here imports torch before it is needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgvc_cli.files import expanded
from fgvc_cli.runs.folder import RUNS, RunFolder, trained_runs
from fgvc_cli.runs.schema import EvalResult

if TYPE_CHECKING:
    from fgvc_cli.api.model import Model
    from fgvc_cli.spec.run import RunSpec


@dataclass(frozen=True, init=False)
class Run:
    """A run's folder and what it holds.

    Args:
        folder: of an existing run; BadRequest if there is none.
    """

    folder: Path

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "folder", RunFolder.open(expanded(folder)).path)

    @classmethod
    def newest(cls, below: str | os.PathLike[str] = RUNS) -> Run:
        """The run in a folder whose model was saved last. BadRequest if there is none."""
        return cls(RunFolder.newest(expanded(below)).path)

    @classmethod
    def all(cls, below: str | os.PathLike[str] = RUNS) -> list[Run]:
        """The runs in a folder that have a model, the one saved last first."""
        return [cls(run.path) for run in trained_runs(expanded(below))]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self._kept.name

    @property
    def spec(self) -> RunSpec:
        """Every setting. FgvcError if its file cannot be read, like all that follows."""
        return self._kept.spec()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self._kept.classes()

    @property
    def measures(self) -> EvalResult:
        """What was measured on the test split."""
        return self.measured("test")

    def measured(self, name: str) -> EvalResult:
        """What was measured on a split or on new photos of that name. FgvcError if that is not stored."""
        return EvalResult.model_validate(self._kept.evaluation(name))

    @property
    def epochs(self) -> list[dict[str, str]]:
        """The rows of metrics.csv, one an epoch."""
        from fgvc_cli.runs.journal import read_rows

        return read_rows(self._kept.metrics_file)

    def load(self, **settings: Any) -> Model:
        """The run's model; `settings` are those of `fgvc.load`."""
        from fgvc_cli.api.loading import load

        return load(self.folder, **settings)

    def evaluate(self, **flags: Any) -> EvalResult:
        """Measure its model; `flags` are those of `fgvc.evaluate`."""
        from fgvc_cli.api.evaluation import evaluate

        return evaluate(self.folder, **flags)

    @property
    def _kept(self) -> RunFolder:
        return RunFolder(self.folder)
