"""The list of suspicious labels: rows for a file, for JSON and for pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgvc_cli.evaluation.confusion import write_csv
from fgvc_cli.evaluation.labels.judging import Checked

SHOWN_NEIGHBOURS = 4
HEADER = (
    "image",
    "split",
    "given",
    "suggested",
    "score",
    "probability",
    "votes",
    "nearest",
    "nearest_class",
    "copy",
    "label",
)


@dataclass(frozen=True)
class Near:
    """A neighbour."""

    image: str
    file: Path
    name: str  # its label
    distance: float  # 1 - cosine


@dataclass(frozen=True)
class Suspect:
    """An image whose label is likely wrong."""

    image: str  # path relative to the dataset's folder
    file: Path
    split: str
    given: str
    suggested: str
    score: float  # the higher, the likelier wrong
    probability: float  # of the given label, 0..1
    votes: float  # share of the neighbours' votes for it, 0..1
    near: tuple[Near, ...]  # nearest first
    copy: Near | None  # an image that is nearly the same and has another label

    def facts(self) -> dict[str, Any]:
        """The suspect as JSON."""
        return {
            "image": self.image,
            "split": self.split,
            "given": self.given,
            "suggested": self.suggested,
            "score": round(self.score, 4),
            "probability": round(self.probability, 6),
            "votes": round(self.votes, 6),
            "nearest": [
                {"image": one.image, "class": one.name, "distance": round(one.distance, 6)} for one in self.near
            ],
            "copy": None if self.copy is None else {"image": self.copy.image, "class": self.copy.name},
        }


def suspects(checked: Checked, count: int) -> list[Suspect]:
    """The first `count` of the ranking, all if there are fewer."""
    pool, ranking = checked.pool, checked.ranking
    classes, labels = pool.index.classes, pool.split.labels

    def near(row: int, cosine: float) -> Near:
        image = checked.image(row)
        return Near(pool.split.files[image], pool.pictures[image].file, classes[labels[image]], 1 - cosine)

    found = []
    for place in range(min(count, len(ranking.rows))):
        image = checked.image(ranking.rows[place])
        copy = int(ranking.copies[place])
        pairs = zip(ranking.neighbours[place].tolist(), ranking.cosines[place].tolist(), strict=True)
        found.append(
            Suspect(
                image=pool.split.files[image],
                file=pool.pictures[image].file,
                split=pool.names[image],
                given=classes[labels[image]],
                suggested=classes[labels[checked.image(copy)]] if copy >= 0 else classes[ranking.suggested[place]],
                score=float(ranking.score[place]),
                probability=float(ranking.probability[place]),
                votes=float(ranking.votes[place]),
                near=tuple(near(row, cosine) for row, cosine in list(pairs)[:SHOWN_NEIGHBOURS]),
                copy=near(copy, 1.0) if copy >= 0 else None,
            )
        )
    return found


def write_suspects(path: Path, found: list[Suspect]) -> None:
    """Write the list as CSV; its last column, `label`, is for the user's corrections."""
    write_csv(path, HEADER, (_cells(one) for one in found))


def _cells(one: Suspect) -> list[object]:
    nearest = one.near[0] if one.near else None
    return [
        one.image,
        one.split,
        one.given,
        one.suggested,
        f"{one.score:.4f}",
        f"{one.probability:.6f}",
        f"{one.votes:.6f}",
        nearest.image if nearest else "",
        nearest.name if nearest else "",
        one.copy.image if one.copy else "",
        "",
    ]
