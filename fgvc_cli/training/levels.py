"""Losses of the levels of a tree of the classes, for any method: only its final logits and the labels are needed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods.base import precise

_LEAST = -1e4  # log probability in the place of -inf, whose product with a share of 0 would be nan


class LevelLosses(nn.Module):
    """For each level its weight times the cross entropy of the taxa's probabilities, the sums over their classes.

    Args:
        tree: of the K classes, L levels above them.
        weights: L of them, the highest level first; a level of weight 0 has no loss.
    """

    def __init__(self, tree: Taxonomy, weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = {level: weight for level, weight in zip(tree.levels, weights, strict=True) if weight}
        self.sizes = {level: len(tree.names[tree.levels.index(level)]) for level in self.weights}
        codes = [torch.from_numpy(tree.codes[tree.levels.index(level)]) for level in self.weights]
        self.codes = torch.stack(codes)  # (levels, K); no buffer, as the weights of a run do not hold it

    def forward(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """(B, K) and (B,) or (B, K) → `level_NAME`: fp32 scalar, the mean over the images."""
        logs = precise(logits).log_softmax(1)
        truth = torch.nn.functional.one_hot(labels, logs.shape[1]).to(logs.dtype) if labels.ndim == 1 else labels
        return {
            f"level_{level.replace(' ', '_')}": weight
            * self._loss(logs, truth.to(logs.dtype), place, self.sizes[level])
            for place, (level, weight) in enumerate(self.weights.items())
        }

    def _loss(self, logs: Tensor, truth: Tensor, place: int, size: int) -> Tensor:
        code = self.codes[place].to(logs.device).expand_as(logs)
        most = logs.new_full((len(logs), size), -torch.inf).scatter_reduce(1, code, logs.detach(), "amax")
        sums = logs.new_zeros(len(logs), size).scatter_add(1, code, (logs - most.gather(1, code)).exp())
        shares = logs.new_zeros(len(logs), size).scatter_add(1, code, truth)
        return -(shares * (sums.log() + most).clamp_min(_LEAST)).sum(1).mean()


def level_losses(tree: Taxonomy | None, weights: Sequence[float], device: torch.device) -> LevelLosses | None:
    """What `regularise.level_weights` ask for; None for none. BadRequest: they do not fit the tree."""
    if not any(weights):
        return None
    if tree is None:
        raise BadRequest(
            "regularise.level_weights: the dataset has no tree of its classes; name one with --taxonomy FILE"
        )
    if len(weights) != len(tree.levels):
        raise BadRequest(
            f"regularise.level_weights: has {len(weights)} weights, but above the classes there are {len(tree.levels)} "
            f"levels: {', '.join(tree.levels)}"
        )
    losses = LevelLosses(tree, weights)
    losses.codes = losses.codes.to(device)
    return losses
