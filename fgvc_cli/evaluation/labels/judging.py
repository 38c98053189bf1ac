"""What models say of images whose labels they did not learn: by folds on frozen features, or of given runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgvc_cli.data.images.duplicates import relabelled_copies
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.evaluation.calibration import fit_temperature
from fgvc_cli.evaluation.certainty.unknown import seen
from fgvc_cli.evaluation.labels.ranking import Judged, Ranking, estimate, ranked
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.look import Model
from fgvc_cli.inference.pictures import Picture, split_pictures
from fgvc_cli.methods.base import Labelled
from fgvc_cli.methods.probe.linear import choose_strength, out_of_fold
from fgvc_cli.progress import Reporter, progress_of
from fgvc_cli.spec.methods.probe import ProbeSpec


@dataclass(frozen=True)
class Pool:
    """All images of a dataset, split after split."""

    index: DatasetIndex
    split: Split
    names: tuple[str, ...]  # the split of each
    pictures: list[Picture]

    @classmethod
    def of(cls, index: DatasetIndex) -> Pool:
        """The images of train, val and test."""
        splits = index.splits()
        files = tuple(file for split in splits.values() for file in split.files)
        whole = Split(files, np.concatenate([split.labels for split in splits.values()]))
        names = tuple(name for name, split in splits.items() for _ in range(len(split)))
        return cls(index, whole, names, split_pictures(index, whole, index.classes))


@dataclass(frozen=True)
class Checked:
    """A dataset's labels, ranked."""

    pool: Pool
    rows: NDArray[np.int64]  # (N,) of the pool: the images that were judged
    ranking: Ranking  # its rows are positions in `rows`
    estimated: int | None  # number of wrong labels by confident learning, where that is installed

    def image(self, row: int) -> int:
        """The place in the pool of a row of the ranking."""
        return int(self.rows[row])


def check_labels(
    index: DatasetIndex, embedder: Embedder, models: Sequence[Model], reporter: Reporter, *, by: str, folds: int = 5
) -> Checked:
    """Rank the labels of a dataset.

    Args:
        index: the dataset.
        embedder: gives the features by which neighbours are found.
        models: trained runs: each speaks of the images that it was not trained on, their probabilities averaged. None:
            classifiers on the features are fitted to folds; the network must not have been trained on the images.
        reporter: shows the progress.
        by: of `ranked`.
        folds: number of them.

    Raises:
        BadRequest: fewer than two classes have two images, or fewer than two images can be judged.
    """
    pool = Pool.of(index)
    labels = torch.from_numpy(pool.split.labels)
    rows = _not_alone(labels)
    if len(set(labels[rows].tolist())) < 2:
        raise BadRequest("fewer than two classes have two images: there is nothing to judge a label by")
    embeddings = embedder.embed(pool.pictures, reporter, shared=False).to(embedder.device)
    if not models:
        probabilities = by_folds(embeddings[rows], labels[rows], len(index.classes), folds, reporter)
    else:
        probabilities, rows = _of_runs(pool, models, reporter)
    if len(rows) < 2:
        raise BadRequest("no run has images that it was not trained on: name one of method probe, or --dataset")
    judged = Judged(labels[rows].to(embedder.device), probabilities.to(embedder.device), embeddings[rows])
    place = {image: row for row, image in enumerate(rows.tolist())}
    found = relabelled_copies(index.root, pool.split.files, pool.split.labels, progress_of(reporter.console))
    copies = {place[one]: place[other] for one, other in found.items() if one in place and other in place}
    return Checked(pool, rows.numpy(), ranked(judged, copies, by), estimate(judged))


def _not_alone(labels: Tensor) -> Tensor:
    """Rows of images whose class has another: of a class with one image, no fold could learn it."""
    return torch.nonzero(torch.bincount(labels)[labels] > 1)[:, 0]


def by_folds(embeddings: Tensor, labels: Tensor, classes: int, folds: int, reporter: Reporter) -> Tensor:
    """(N, K) probabilities of classifiers that were fitted to the other folds."""
    images = Labelled(embeddings, labels.to(embeddings.device))
    with torch.no_grad():
        strength = choose_strength(images, None, classes, ProbeSpec(), reporter.line).strength
        (logits,) = out_of_fold(images, classes, [strength], min(folds, len(labels)))
    return _calibrated(logits, labels)


def _of_runs(pool: Pool, models: Sequence[Model], reporter: Reporter) -> tuple[Tensor, Tensor]:
    """Mean probabilities (M, K) of the runs that were not trained on each image, and the (M,) images that have one."""
    total: Tensor | None = None
    times = torch.zeros(len(pool.names))
    for model in models:
        if model.classes != pool.index.classes:
            raise BadRequest(f"{model.name} has other classes than {models[0].name}")
        learnt = set(_trained_on(model, reporter))
        rows = torch.tensor([row for row, file in enumerate(pool.split.files) if file not in learnt])
        if not len(rows):
            continue
        answers = seen(model, [pool.pictures[row] for row in rows.tolist()], reporter)
        shares = (answers.logits / model.trained.temperature).softmax(1).cpu()
        total = torch.zeros(len(pool.names), shares.shape[1]) if total is None else total
        total[rows] += shares
        times[rows] += 1
    kept = torch.nonzero(times > 0)[:, 0]
    if total is None:
        return torch.zeros(0, len(pool.index.classes)), kept
    return total[kept] / times[kept, None], kept


def _trained_on(model: Model, reporter: Reporter) -> tuple[str, ...]:
    return model.open_images(reporter.console).index.train.files


def _calibrated(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax at the temperature that fits the labels; the few wrong ones hardly change it."""
    temperature = fit_temperature(logits.cpu(), labels.cpu()) or 1.0
    return (logits / temperature).softmax(1)
