"""A run in a program. Nothing here imports torch before it is needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgvc_cli.files import expanded
from fgvc_cli.runs.folder import RUNS, RunFolder, trained_runs
from fgvc_cli.runs.schema import EvalResult

if TYPE_CHECKING:
    from fgvc_cli.api.inputs import OneImage
    from fgvc_cli.api.model import Model
    from fgvc_cli.spec.run import RunSpec


@dataclass(frozen=True, init=False)
class Run:
    """A run's folder and what it holds.

    Args:
        folder: of an existing run, or hf://OWNER/NAME; BadRequest if there is none.
    """

    folder: Path

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        from fgvc_cli.api.loading import place_of

        object.__setattr__(self, "folder", RunFolder.open(place_of(folder)).path)

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

    def report(
        self,
        out: str | os.PathLike[str] | None = None,
        *,
        beside: Sequence[Run] = (),
        sample: int | None = None,
        force: bool = False,
        progress: bool = True,
        **flags: Any,
    ) -> Path:
        """Write one web page about the run, as `fgvc report` does.

        Args:
            out: the file; None: report.html in the run's folder.
            beside: other runs to compare it with; then `out` must be given.
            sample: pictures of each run; None: 48, or 24 of several.
            force: replace an existing page.
            progress: show notes and progress on stderr.
            flags: `split`, `device`, `batch_size`, `precision`, `data_dir`, `name`, `unknown_classes`.

        Returns:
            The file.
        """
        from fgvc_cli.api.showing import report

        return report([self.folder, *(run.folder for run in beside)], out, sample, force, progress, flags)

    def export(self, out: str | os.PathLike[str] | None = None, *, progress: bool = True, **flags: Any) -> Path:
        """Write the model as one file that answers by itself, as `fgvc export` does.

        Args:
            out: the file; None: in the run's folder export/.
            progress: show notes and progress on stderr.
            flags: `format`, `precision`, `dynamic_batch`, `evidence`, `images`, `check`, `calibration`, `max_loss`.

        Returns:
            The file.

        Raises:
            BadRequest: a flag is wrong, or a package is missing.
            FgvcError: the file does not answer as the run does; nothing is written.
        """
        from fgvc_cli.api.showing import export

        return export(self.folder, out, progress, flags)

    def enroll(self, class_name: str, images: OneImage | Iterable[OneImage]) -> int:
        """Teach the model a class without training, as `fgvc enroll` does. Returns the number of classes then."""
        from fgvc_cli.api.inputs import pictures_of
        from fgvc_cli.api.model import quiet
        from fgvc_cli.training.features import enrollment

        return enrollment.enroll(self._kept, class_name, pictures_of(images), quiet())

    def forget(self, class_name: str) -> int:
        """Let the model forget a class, as `fgvc enroll --remove` does. Returns the number of classes then."""
        from fgvc_cli.training.features import enrollment

        return enrollment.remove(self._kept, class_name)

    @property
    def _kept(self) -> RunFolder:
        return RunFolder(self.folder)
