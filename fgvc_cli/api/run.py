"""A run in a program. Nothing here imports torch before it is needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os.path import lexists
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from fgvc_cli.api.inputs import OneImage, pictures_of
from fgvc_cli.api.loading import load
from fgvc_cli.api.models.base import Model, reporter_of
from fgvc_cli.api.models.drawing import DrawFlags, draw_of
from fgvc_cli.api.models.exporting import export
from fgvc_cli.api.place import RunLike, folder_of
from fgvc_cli.api.runs import plots, showing
from fgvc_cli.api.runs.evaluation import evaluate
from fgvc_cli.api.runs.labels import Labels, check_labels
from fgvc_cli.api.runs.plots import PlotFlags
from fgvc_cli.files import expanded
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.runs.folder import RUNS, RunFolder, find_runs, trained_runs
from fgvc_cli.runs.journal import read_rows
from fgvc_cli.runs.schema import AverageRecord, EvalResult, read_file

if TYPE_CHECKING:
    from fgvc_cli.export.export import Written as Exported
    from fgvc_cli.report.page import Written as Page
    from fgvc_cli.spec.run import RunSpec
    from fgvc_cli.viz.draw import Drawn

_Path = str | os.PathLike[str]


@dataclass(frozen=True, init=False)
class Run:
    """A run's folder and what it holds. Where a path is asked for, a run is that of its folder.

    Args:
        folder: of an existing run, or hf://OWNER/NAME; BadRequest if there is none.
    """

    folder: Path

    def __init__(self, folder: RunLike) -> None:
        object.__setattr__(self, "folder", folder_of(folder).path)

    def __fspath__(self) -> str:
        return str(self.folder)

    @classmethod
    def newest(cls, below: str | os.PathLike[str] = RUNS) -> Run:
        """The run in a folder whose model was saved last. BadRequest if there is none."""
        return cls(RunFolder.newest(expanded(below)).path)

    @classmethod
    def all(cls, below: str | os.PathLike[str] = RUNS, *, trained: bool = True) -> list[Run]:
        """The runs in a folder that have a model, the one saved last first; not `trained`: all, by name."""
        return [cls(run.path) for run in (trained_runs if trained else find_runs)(expanded(below))]

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
    def evaluated(self) -> bool:
        """Whether it was measured on the test split."""
        return lexists(self._kept.evaluation_file("test"))

    @property
    def epochs(self) -> list[dict[str, str]]:
        """The rows of metrics.csv, one an epoch."""
        return read_rows(self._kept.metrics_file)

    @property
    def averaged(self) -> AverageRecord | None:
        """The runs whose weights were averaged into this one, and their averages; None if it is none."""
        kept = self._kept.average_file
        return AverageRecord.model_validate(read_file(kept, AverageRecord)) if kept.exists() else None

    def load(self, **settings: Any) -> Model:
        """The run's model; `settings` are those of `fgvc.load`."""
        return load(self, **settings)

    def evaluate(self, **flags: Any) -> EvalResult:
        """Measure its model; `flags` are those of `fgvc.evaluate`."""
        return evaluate(self, **flags)

    def report(
        self,
        out: _Path | None = None,
        *,
        beside: Sequence[RunLike] = (),
        sample: int | None = None,
        force: bool = False,
        progress: bool = True,
        **flags: Any,
    ) -> Page:
        """Write one web page about the run, as `fgvc report` does.

        Args:
            out: the file; None: report.html in the run's folder.
            beside: other runs to compare it with; then `out` must be given.
            sample: pictures of each run; None: 48, or 24 of several.
            force: replace an existing page.
            progress: show notes and progress on stderr.
            flags: `split`, `device`, `batch_size`, `precision`, `data_dir`, `name`, `unknown_classes`.

        Returns:
            Its `file`, and `notices` of what is missing on it.

        Raises:
            BadRequest: a flag is wrong, or the file exists.
            FgvcError: a run cannot be read, or the page cannot be written.
        """
        return showing.report([self, *beside], out, flags, sample=sample, force=force, progress=progress)

    def export(self, out: _Path | None = None, *, progress: bool = True, **flags: Any) -> Exported:
        """Write the model as one file that answers by itself, as `fgvc export` does.

        Args:
            out: the file; None: in the run's folder export/.
            progress: show notes and progress on stderr.
            flags: `format`, `precision`, `dynamic_batch`, `evidence`, `images`, `check`, `calibration`, `max_loss`.

        Returns:
            Its `file`, and by how much its answers differ from the run's (`parity`).

        Raises:
            BadRequest: a flag is wrong, or a package is missing.
            FgvcError: the file does not answer as the run does; nothing is written.
        """
        return export(self.folder, out, flags, progress=progress)

    def check_labels(self, **flags: Any) -> Labels:
        """The labels of its data that are likely wrong; `flags` are those of `fgvc.check_labels`."""
        return check_labels(self, **flags)

    def push(
        self,
        name: str,
        *,
        private: bool = False,
        picture: Sequence[_Path] = (),
        licence: str | None = None,
        out: _Path | None = None,
        progress: bool = True,
    ) -> str:
        """Send the model of a finished run to the hub, with a model card, as `fgvc push` does.

        Args:
            name: OWNER/NAME; the repository is made if there is none.
            private: make the repository private, if it is made now.
            picture: images that may be published, up to four: the card shows what the model looked at in them.
            licence: of the model, by the hub's identifier, such as apache-2.0.
            out: write the files into this new folder; nothing is sent.
            progress: show notes on stderr.

        Returns:
            The repository's address, or with `out` the folder.

        Raises:
            BadRequest: the name is none, the run is not finished, or the hub does not let this user write there.
            FgvcError: a file cannot be written, or the hub failed.
        """
        return showing.push(self, name, private=private, picture=picture, licence=licence, out=out, progress=progress)

    def draw(
        self,
        kind: str,
        images: _Path | Iterable[_Path] = (),
        *,
        compare: RunLike | None = None,
        progress: bool = True,
        **flags: Unpack[DrawFlags],
    ) -> Drawn:
        """Write pictures of why of many images, or of a split, into a folder, as `fgvc viz KIND` does: `Model.draw`."""
        return draw_of(self.folder, kind, images, flags, compare=compare, progress=progress)

    def draw_curves(
        self,
        out: _Path | None = None,
        *,
        beside: Sequence[RunLike] = (),
        dpi: int = 150,
        force: bool = False,
        progress: bool = True,
    ) -> Path:
        """Draw loss and accuracy by epoch, of the run or of several in comparison, as `fgvc viz curves` does.

        Args:
            out: a .png file, or a folder; None: viz/ in the run's folder.
            beside: other runs.
            dpi: pixels per inch, 30..1200.
            force: replace an existing picture.
            progress: tell on stderr what could not be read.

        Returns:
            The file.
        """
        return plots.draw_curves([self, *beside], out, dpi=dpi, force=force, progress=progress)

    def draw_confusion(
        self,
        out: _Path | None = None,
        *,
        dpi: int = 150,
        force: bool = False,
        progress: bool = True,
        **flags: Unpack[PlotFlags],
    ) -> Path:
        """Draw the confusion matrix, as `fgvc viz confusion` does; what is not measured yet is measured first.

        Args:
            out: a .png file, or a folder; None: viz/ in the run's folder.
            dpi: pixels per inch, 30..1200.
            force: replace an existing picture.
            progress: show notes and progress on stderr.
            flags: of which images: `split`, `data_dir`, `name`, `unknown_classes`; `device`, `batch_size`.

        Returns:
            The file.
        """
        return plots.draw_confusion(self, flags, out, dpi=dpi, force=force, progress=progress)

    def draw_embedding(
        self,
        out: _Path | None = None,
        *,
        projection: str = "pca",
        sample: int = 2000,
        dpi: int = 150,
        force: bool = False,
        progress: bool = True,
        **flags: Unpack[PlotFlags],
    ) -> Path:
        """Draw the features of a split's images in two dimensions, as `fgvc viz embedding` does.

        Args:
            out: a .png file, or a folder; None: viz/ in the run's folder.
            projection: pca, or tsne (extra `tsne`).
            sample: at most this many images, spread over the classes; at least 3.
            dpi: pixels per inch, 30..1200.
            force: replace an existing picture.
            progress: show notes and progress on stderr.
            flags: of which images, as for `draw_confusion`.

        Returns:
            The file.
        """
        return plots.draw_embedding(
            self, flags, out, projection=projection, sample=sample, dpi=dpi, force=force, progress=progress
        )

    def serve(self, **flags: Any) -> Path | None:
        """Show the model as a page in the browser until Ctrl-C; `flags` are those of `Model.serve`.

        On another device than the run's: `run.load(device=…).serve()`.
        """
        return self.load().serve(**flags)

    def enroll(self, class_name: str, images: OneImage | Iterable[OneImage], *, progress: bool = True) -> int:
        """Teach the model a class without training, as `fgvc enroll` does. Returns the number of classes then.

        Raises:
            BadRequest: the run's method cannot learn a class so, or an image is of no known kind.
            FgvcError: an image cannot be read.
        """
        with quick_imports():
            from fgvc_cli.training.features import enrollment

        return enrollment.enroll(self._kept, class_name, pictures_of(images), reporter_of(progress))

    def forget(self, class_name: str) -> int:
        """Let the model forget a class, as `fgvc enroll --remove` does. Returns the number of classes then."""
        with quick_imports():
            from fgvc_cli.training.features import enrollment

        return enrollment.remove(self._kept, class_name)

    @property
    def _kept(self) -> RunFolder:
        return RunFolder(self.folder)
