"""Which unlabelled images to label next: those that the model is unsure of, spread over what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch.nn import functional as F

from fgvc_cli.csv_text import csv_text
from fgvc_cli.evaluation.certainty.unknown import looked_at
from fgvc_cli.files import make_parent, write_text
from fgvc_cli.inference.look import Model
from fgvc_cli.inference.pictures import OnBad, Picture
from fgvc_cli.ops.vectors.spread import k_centres
from fgvc_cli.progress import Reporter

HEADER = ("image", "uncertainty", "class", "probability", "second_class", "second_probability")


@dataclass(frozen=True)
class Suggestion:
    """An image to label."""

    picture: Picture
    uncertainty: float  # 0..1: 1 less the margin between the two likeliest classes
    classes: tuple[str, str]  # the two likeliest
    probabilities: tuple[float, float]

    @property
    def likeliest(self) -> list[tuple[str, float]]:
        """The two likeliest classes with their probabilities."""
        return list(zip(self.classes, self.probabilities, strict=True))


def suggest(
    model: Model, pictures: Sequence[Picture], count: int, reporter: Reporter, on_bad: OnBad | None = None
) -> list[Suggestion]:
    """The images to label next, most useful first: unsure ones, each far from those chosen before (`k_centres`).

    Args:
        model: the trained model.
        pictures: unlabelled images.
        count: how many to choose; all if there are fewer.
        reporter: shows the progress.
        on_bad: called with each image that cannot be read; None: the ImageError is raised.
    """
    seen, there = looked_at(model, pictures, reporter, on_bad)
    best = model.probabilities(seen.logits).topk(2, dim=1)
    uncertainty = 1 - (best.values[:, 0] - best.values[:, 1])
    chosen = k_centres(F.normalize(seen.embeddings, dim=1), uncertainty, count)
    found = []
    for row in chosen.tolist():
        first, second = best.indices[row].tolist()
        shares = best.values[row].tolist()
        names = (model.classes[first], model.classes[second])
        found.append(Suggestion(there[row], float(uncertainty[row]), names, (shares[0], shares[1])))
    return found


def write_suggestions(path: Path, found: Sequence[Suggestion]) -> None:
    """Write the list as CSV, complete or not at all."""
    make_parent(path)
    write_text(path, csv_text(HEADER, (_cells(one) for one in found)))


def _cells(one: Suggestion) -> list[object]:
    first, second = one.probabilities
    cells = [
        one.picture.name,
        f"{one.uncertainty:.6f}",
        one.classes[0],
        f"{first:.6f}",
        one.classes[1],
        f"{second:.6f}",
    ]
    return list(cells)
