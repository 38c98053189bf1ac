"""Which images make up each batch of an epoch: a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from fgvc_cli.data.loading.samples import Key
from fgvc_cli.data.loading.transforms import mix

_ORDER = 0x6F72646572  # keeps the order's draws apart from the images'
_EPOCHS = 1 << 20  # more than a run can have
Shard = tuple[int, int]  # which of so many processes: each takes every so-manieth image of a batch


def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of `count` images in a training epoch: a permutation (count,)."""
    keys = _dice(seed, epoch).random_sample(count)
    return np.argsort(keys, kind="stable")


def balanced_order(seed: int, epoch: int, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """An epoch of as many images as `labels` (N,) in which all classes that have images come equally often.

    Counts of classes differ by one at most, and so do those of the images of a class: a class with too few repeats
    them, one with too many shows another part of them in another epoch.

    Returns:
        Positions in the split, and how often that position came before in this epoch: (N,) each.
    """
    dice, counts = _dice(seed, epoch), np.bincount(labels)
    by_class = np.lexsort((dice.random_sample(len(labels)), labels))  # each class's images in a new order
    starts = np.cumsum(counts) - counts
    present = dice.permutation(np.flatnonzero(counts))  # which classes get one more, where they do not divide N
    classes = np.resize(present, len(labels))
    turn = np.arange(len(labels)) // len(present)
    drawn = by_class[starts[classes] + turn % counts[classes]]
    order = np.argsort(dice.random_sample(len(labels)), kind="stable")
    return drawn[order], (turn // counts[classes])[order]


def _dice(seed: int, epoch: int) -> np.random.RandomState:
    """What an epoch's order is drawn from: a stream that numpy keeps frozen."""
    word = mix(seed, epoch, _ORDER)
    return np.random.RandomState([word & 0xFFFFFFFF, word >> 32])


class BatchOrder(Sampler[list[Key]]):
    """Which images make up each batch of the epoch that is to come."""

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        train: bool,
        seed: int,
        balance: NDArray[np.int64] | None = None,
        shard: Shard = (0, 1),
    ) -> None:
        self.count = count
        self.rank, self.ranks = shard
        self.balance = balance  # (count,) labels, where an epoch is to be balanced over them
        self.batch_size = batch_size
        self.train = train
        self.seed = seed
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.batch_size)
        return max(1, whole) if self.train else whole + (rest > 0)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, start = self.epoch, self.start
        order, repeats = self._order(epoch)
        for batch in range(start, len(self)):
            end = min((batch + 1) * self.batch_size, self.count)
            chosen = slice(batch * self.batch_size + self.rank, end, self.ranks)
            # An image that comes again is augmented with the dice of an epoch that never is.
            epochs = (epoch + repeats[chosen] * _EPOCHS).tolist()
            if epochs:  # of a last batch in evaluation that is smaller than there are ranks
                yield list(zip(epochs, order[chosen].tolist(), strict=True))

    def _order(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions, and how often each came before in this epoch."""
        if self.balance is not None:
            return balanced_order(self.seed, epoch, self.balance)
        order = epoch_order(self.seed, epoch, self.count) if self.train else np.arange(self.count)
        return order, np.zeros_like(order)
