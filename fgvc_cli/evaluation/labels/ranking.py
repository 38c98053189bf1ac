"""Images ranked by how likely their label is wrong, from probabilities of models that did not learn them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fgvc_cli.errors import FgvcError
from fgvc_cli.ops.vectors.neighbours import nearest

WAYS = ("both", "confident", "neighbours")
NEIGHBOURS = 10
_SHARPNESS = 0.07  # a neighbour of cosine s votes with exp(s / this), as in method probe
_LEAST = 1e-12  # probability in the place of 0, which has no logarithm
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """N images and what is said of them without having learnt their labels."""

    labels: Tensor  # (N,) int64
    probabilities: Tensor  # (N, K), calibrated
    embeddings: Tensor  # (N, D)


@dataclass(frozen=True)
class Ranking:
    """Images by how likely their label is wrong, the likeliest first; (N,) each, and (N, k) neighbours."""

    rows: Integers  # the images, as positions in what was judged
    score: NDArray[np.float64]  # of each of them: the higher, the likelier wrong; mean 0 and deviation 1 over all
    suggested: Integers  # the class that speaks most against the label
    votes: NDArray[np.float64]  # share of the neighbours' votes for the label
    probability: NDArray[np.float64]  # of the label
    neighbours: Integers  # (N, k) rows, nearest first
    cosines: NDArray[np.float64]  # (N, k)
    copies: Integers  # the row of a copy with another label; -1: there is none


def ranked(judged: Judged, copies: Mapping[int, int], by: str = "both") -> Ranking:
    """Rank images.

    Args:
        judged: the images; at least two.
        copies: row → row of a nearly identical image with another label. They come first.
        by: `both`: the log of the label's odds against its strongest rival, and the margin of the neighbours' votes for
            it, with equal weights; `neighbours`: the latter alone; `confident`: confident learning (Northcutt et al.,
            https://arxiv.org/abs/1911.00068), the margin of probabilities less each class's own mean.

    Raises:
        FgvcError: `confident` needs the extra `labels`.
    """
    labels, classes = judged.labels, judged.probabilities.shape[1]
    unit = F.normalize(judged.embeddings.float(), dim=1)
    own = torch.arange(len(unit), device=unit.device)
    cosines, rows = nearest(unit, unit, min(NEIGHBOURS, len(unit) - 1), own)
    weights = ((cosines - cosines[:, :1]) / _SHARPNESS).exp()
    votes = weights.new_zeros(len(unit), classes).scatter_add_(1, labels[rows], weights / weights.sum(1, keepdim=True))
    against = judged.probabilities.float() + votes
    against.scatter_(1, labels[:, None], -1.0)
    if by == "confident":
        score = _standardised(_confident(judged))
    else:
        logs = judged.probabilities.double().clamp_min(_LEAST).log()
        parts = [_margin(votes.double(), labels)] + ([_margin(logs, labels)] if by == "both" else [])
        score = _standardised(np.sum([_standardised(part.cpu().numpy()) for part in parts], axis=0))
    copy = np.full(len(unit), -1, dtype=np.int64)
    copy[list(copies)] = list(copies.values())
    score = -score
    order = np.lexsort((-score, copy < 0))  # those with a copy first; lexsort is stable
    columns = (against.argmax(1), *(table.gather(1, labels[:, None])[:, 0] for table in (votes, judged.probabilities)))
    suggested, voted, probability = (column.cpu().numpy()[order] for column in columns)
    near, like = rows.cpu().numpy()[order], cosines.double().cpu().numpy()[order]
    return Ranking(order, score[order], suggested, voted, probability, near, like, copy[order])


def _margin(values: Tensor, labels: Tensor) -> Tensor:
    """(N,) the label's value less the largest other's."""
    own = values.gather(1, labels[:, None])[:, 0]
    return own - values.scatter(1, labels[:, None], -torch.inf).amax(1)


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) with mean 0 and deviation 1; all 0 if they are equal."""
    deviation = values.std()
    return (values - values.mean()) / deviation if deviation > 0 else np.zeros_like(values)


def _confident(judged: Judged) -> NDArray[np.float64]:
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        raise FgvcError('--by confident needs cleanlab: pip install "fgvc[labels]"') from None
    probabilities = judged.probabilities.double().cpu().numpy()
    probabilities /= probabilities.sum(1, keepdims=True)
    found = get_label_quality_scores(
        judged.labels.cpu().numpy(), probabilities, method="normalized_margin", adjust_pred_probs=True
    )
    return np.asarray(found, dtype=np.float64)


def estimate(judged: Judged) -> int | None:
    """The number of wrong labels that confident learning estimates; None without the extra `labels`."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return None
    probabilities = judged.probabilities.double().cpu().numpy()
    probabilities /= probabilities.sum(1, keepdims=True)
    return int(find_label_issues(judged.labels.cpu().numpy(), probabilities, n_jobs=1).sum())
