"""What is kept with a trained model, by which its answers are judged: of a run, and of an exported file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.data.taxonomy_file import read_taxonomy
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.schema import Validated

if TYPE_CHECKING:  # what reads them would delay predictions without rules
    from fgvc_cli.evaluation.certainty.detector import Detector
    from fgvc_cli.evaluation.certainty.validation import Validation
    from fgvc_cli.inference.exported import Exported
    from fgvc_cli.inference.look import Model


class Kept(Protocol):
    """What is kept with a trained model, by which its answers are judged."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""

    def validation(self) -> Validation:
        """What the model says of its validation split. BadRequest if there is none."""

    def tree(self, file: Path | None) -> Taxonomy | None:
        """The tree of its classes, or that of a file."""

    def detector(self, reporter: Reporter) -> Detector:
        """What tells images of unknown classes."""


@dataclass(frozen=True)
class OfRun:
    """What a run keeps."""

    model: Model

    @property
    def classes(self) -> tuple[str, ...]:
        """As `Kept.classes`."""
        return self.model.classes

    def validation(self) -> Validation:
        """As `Kept.validation`."""
        from fgvc_cli.evaluation.certainty.validation import open_validation

        trained, kept = self.model.trained, self._exported.get("validation")
        if kept is not None:
            return validation_of(Validated.model_validate(kept), self.model.file)
        return open_validation(self.model.file, self.model.run, trained.epoch, trained.temperature)

    @property
    def _exported(self) -> Mapping[str, Any]:
        """What `fgvc export --format safetensors` added to the metadata of a file that is in no run folder."""
        if self.model.run is not None:
            return {}
        from fgvc_cli.runs.checkpoint import about_model

        return about_model(self.model.file)

    def tree(self, file: Path | None) -> Taxonomy | None:
        """As `Kept.tree`."""
        from fgvc_cli.evaluation.taxonomy import taxonomy_of

        kept = self._exported.get("taxonomy")
        known = None if kept is None else Taxonomy.of_record(kept)
        return taxonomy_of(self.model.run, self.model.classes, file, known)

    def detector(self, reporter: Reporter) -> Detector:
        """As `Kept.detector`."""
        from fgvc_cli.evaluation.certainty.unknown import open_detector

        return open_detector(self.model, reporter)


@dataclass(frozen=True)
class OfExport:
    """What an exported file keeps of its run; it is one of `Kept`."""

    model: Exported

    @property
    def classes(self) -> tuple[str, ...]:
        """As `Kept.classes`."""
        return self.model.classes

    def validation(self) -> Validation:
        """As `Kept.validation`."""
        return validation_of(self.model.about.validation, self.model.file)

    def tree(self, file: Path | None) -> Taxonomy | None:
        """As `Kept.tree`."""
        return self.model.taxonomy if file is None else read_taxonomy(expanded(file), self.classes)

    def detector(self, reporter: Reporter) -> Detector:
        """As `Kept.detector`: there is none."""
        raise BadRequest("--unknown compares with the run's training images: name the run, not an exported file")


def validation_of(kept: Validated | None, file: Path) -> Validation:
    """The record in a file's metadata. BadRequest if it has none."""
    if kept is None:
        raise BadRequest(
            f"{file} has no validation images, and a threshold must not be chosen by others: "
            "train with --val-fraction 0.1 and export again"
        )
    from fgvc_cli.evaluation.certainty.validation import Validation  # it would delay predictions without thresholds

    columns = np.array(kept.confidence, dtype=np.float32), np.array(kept.right, dtype=np.uint8)
    return Validation(*columns, np.array(kept.score, dtype=np.float32), kept.images)
