"""The prediction for every image of a split, as a table in the run's eval/ folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgvc_cli.csv_text import original
from fgvc_cli.data.types import Split
from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.confusion import csv_stream, write_csv
from fgvc_cli.evaluation.metrics import Predicted

HEADER = ("image", "true", "predicted", "probability")


@dataclass(frozen=True)
class ImagePrediction:
    """The prediction for one image."""

    image: str  # path relative to the dataset's folder
    true: str
    predicted: str
    probability: float  # calibrated probability of the predicted class, 0..1


def write_predictions(path: Path, split: Split, classes: Sequence[str], predicted: Predicted) -> None:
    """Write one row per image, in the split's order: image, true class, predicted class and its probability."""
    columns = (predicted.index, predicted.labels, predicted.classes, predicted.calibrated)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    write_csv(
        path,
        HEADER,
        ((split.files[place], classes[true], classes[guess], share) for place, true, guess, share in rows),
    )


def read_predictions(path: Path) -> list[ImagePrediction]:
    """Read the file of `write_predictions`. FgvcError if it is missing or damaged."""
    try:
        return [_parsed(row) for row in csv.DictReader(csv_stream(path))]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise FgvcError(f"cannot read {path}: {error}; run `fgvc eval` again") from None


def _parsed(row: dict[str, str]) -> ImagePrediction:
    image, true, predicted = (original(row[key]) for key in ("image", "true", "predicted"))
    return ImagePrediction(image, true, predicted, float(row["probability"]))
