"""The images of each batch of an epoch. They depend on the seed and the epoch only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from fgvc_cli.data.loading.samples import Key
from fgvc_cli.data.loading.transforms import mix

_ORDER = 0x6F72646572  # makes the seed of the order differ from the seeds of the images
_EPOCHS = 1 << 20  # more epochs than a run can have
Shard = tuple[int, int]  # (rank, ranks): this process takes images rank, rank + ranks, ... of each batch


def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of `count` images in a training epoch: a permutation (count,)."""
    keys = _random_state(seed, epoch).random_sample(count)
    return np.argsort(keys, kind="stable")


def balanced_order(seed: int, epoch: int, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """An epoch of N images, for `labels` (N,), in which all classes that have images are equally frequent.

    The numbers of images of two classes differ by at most one, and so do the numbers of times that two images of a
    class appear. A class with too few images repeats them; a class with too many shows other images in other epochs.

    Returns:
        Positions in the split, and how often each position came before in this epoch: (N,) each.
    """
    rng, counts = _random_state(seed, epoch), np.bincount(labels)
    by_class = np.lexsort((rng.random_sample(len(labels)), labels))  # each class's images in a new order
    starts = np.cumsum(counts) - counts
    present = rng.permutation(np.flatnonzero(counts))  # if N is not divisible, the first classes get one image more
    classes = np.resize(present, len(labels))
    turn = np.arange(len(labels)) // len(present)
    positions = by_class[starts[classes] + turn % counts[classes]]
    order = np.argsort(rng.random_sample(len(labels)), kind="stable")
    return positions[order], (turn // counts[classes])[order]


def _random_state(seed: int, epoch: int) -> np.random.RandomState:
    """The random generator of an epoch's order. RandomState gives the same numbers with every version of numpy."""
    word = mix(seed, epoch, _ORDER)
    return np.random.RandomState([word & 0xFFFFFFFF, word >> 32])


class BatchOrder(Sampler[list[Key]]):
    """The images of each batch of the next epoch."""

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
        self.balance = balance  # (count,) labels if epochs are balanced over classes
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
            # A repeated image gets another epoch number, beyond those of a run: it is augmented differently.
            epochs = (epoch + repeats[chosen] * _EPOCHS).tolist()
            if epochs:  # in evaluation, the last batch may have fewer images than there are ranks
                yield list(zip(epochs, order[chosen].tolist(), strict=True))

    def _order(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions, and how often each position came before in this epoch."""
        if self.balance is not None:
            return balanced_order(self.seed, epoch, self.balance)
        order = epoch_order(self.seed, epoch, self.count) if self.train else np.arange(self.count)
        return order, np.zeros_like(order)
