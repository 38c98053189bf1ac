"""Images → batches, the same ones for any number of workers and after any resume.

Order and augmentation are functions of (seed, epoch, position) and nothing else; the global random state is never
touched. Images stay uint8 until they are on the device.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from fgvc_cli.data.cache import Squares
from fgvc_cli.data.image_dataset import ImageDataset, Key, collate
from fgvc_cli.data.images import ImageError
from fgvc_cli.data.loader_cached import CopiedBatches, DeviceBatches
from fgvc_cli.data.threads import cores, torch_threads
from fgvc_cli.data.transforms import mix
from fgvc_cli.data.types import Batch, DatasetIndex, Split
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.spec.data import DataSpec

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


class _Plan(Sampler[list[Key]]):
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


class Loader:
    """Batches of a split, epoch by epoch; `len` is the number of batches of an epoch."""

    def __init__(
        self,
        dataset: ImageDataset,
        batch_size: int,
        *,
        workers: int = 0,
        pin_memory: bool = False,
        balanced: bool = False,
        shard: Shard = (0, 1),
        device: torch.device | None = None,
    ) -> None:
        if not len(dataset):
            raise BadRequest(f"{dataset.root}: the split to load is empty")
        if min(len(dataset), batch_size) < shard[1]:
            few = f"{min(len(dataset), batch_size)} images"
            raise BadRequest(f"{few} cannot be shared by {shard[1]} processes: start fewer, or raise --batch-size")
        self.dataset = dataset
        self.batch_size = batch_size
        self.workers = workers
        self.device = device or torch.device("cpu")
        balance = dataset.split.labels if balanced else None
        count, train = len(dataset), dataset.train
        self._plan = _Plan(count, batch_size, train=train, seed=dataset.seed, balance=balance, shard=shard)
        self._batches = self._source(pin_memory)

    def _source(self, pin_memory: bool) -> Iterable[Batch | ImageError]:
        """Copies of kept squares where that is all there is to do, else processes that make images."""
        dataset = self.dataset
        if dataset.squares is not None and (dataset.spec.only_copies or not dataset.train):
            source = DeviceBatches if dataset.squares.on_device else CopiedBatches
            return source(dataset, self._plan, pin_memory=pin_memory)
        with _many_workers_allowed():
            return DataLoader(
                dataset,
                batch_sampler=self._plan,
                collate_fn=collate,
                num_workers=self.workers,
                persistent_workers=self.workers > 0,
                pin_memory=pin_memory,
                worker_init_fn=_start_worker,
                generator=torch.Generator().manual_seed(0),  # else each epoch draws from the global one
            )

    def __len__(self) -> int:
        return len(self._plan)

    @property
    def batch_images(self) -> int:
        """Images of a training batch, over all processes."""
        return min(self.batch_size, len(self.dataset))

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Batches of an epoch on the loader's device, from `start_batch` on: the images of those before are not read.

        Workers start at once. One epoch at a time: asking for the next ends the one before. Raises ImageError for the
        first image that cannot be read, FgvcError if a worker process dies.
        """
        self._plan.epoch, self._plan.start = epoch, start_batch
        with _many_workers_allowed():
            batches = iter(self._batches)
        return ahead(_checked(batches, threads=None if self.workers else 1), self.device)


@contextlib.contextmanager
def _many_workers_allowed() -> Iterator[None]:
    """More workers than cores is the user's own choice: no warning about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
        yield


def _checked(batches: Iterator[Batch | ImageError], threads: int | None) -> Iterator[Batch]:
    while True:
        try:
            with torch_threads(threads):
                batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise FgvcError(
                "a loader process died, most likely for want of memory; use fewer with --workers, 0 for none"
            ) from error
        if isinstance(batch, ImageError):
            try:
                raise batch
            finally:
                del batch, batches  # else error, traceback and this frame hold each other, and the workers with them
        yield batch


def _start_worker(worker: int) -> None:
    """Ctrl-C is for the main process, which finishes its step with the batches that still come; cores are shared."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def default_workers(device: torch.device | str = "cpu") -> int:
    """How many worker processes a loader gets where the user does not say.

    None beside a network on the CPU: it keeps all cores busy, and reading is under a tenth of its time. For a GPU,
    eight at most and one core less than there are.
    """
    if torch.device(device).type == "cpu":
        return 0
    return max(0, min(8, cores() - 1))


def make_loader(
    index: DatasetIndex,
    split: Split,
    spec: DataSpec,
    *,
    batch_size: int,
    train: bool,
    seed: int = 0,
    device: torch.device | str = "cpu",
    balanced: bool = False,
    shard: Shard = (0, 1),
    squares: Squares | None = None,
) -> Loader:
    """A loader of one of the index's splits. Training shuffles, augments and leaves out a partial last batch unless
    it is the only one; evaluation keeps all images in order. `balanced`: an epoch draws every class
    equally often. `shard`: rank and number of the processes that share each batch of `batch_size` images.
    `squares`: take the images from there (`cache.open_squares`).
    BadRequest for an empty split, or fewer images than processes."""
    device = torch.device(device)
    dataset = ImageDataset(
        index.root, split, spec, train=train, seed=seed, cut_bottom=index.cut_bottom, squares=squares
    )
    workers = default_workers(device) if spec.workers is None else spec.workers
    pinned = device.type == "cuda"
    return Loader(
        dataset, batch_size, workers=workers, pin_memory=pinned, balanced=balanced, shard=shard, device=device
    )


def ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches on `device`; to a GPU each is copied while the one before it is computed with."""
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    coming: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(copies):
            started = batch.to(device), copies.record_event()
        if coming is not None:
            yield _arrived(*coming)
        coming = started
    if coming is not None:
        yield _arrived(*coming)


def _arrived(batch: Batch, copied: torch.cuda.Event) -> Batch:
    """The batch, to be used by what is asked of the device from now on; the host waits for nothing."""
    stream = torch.cuda.current_stream(batch.labels.device)
    stream.wait_event(copied)
    for value in vars(batch).values():
        if value is not None:
            value.record_stream(stream)  # its memory is not given away before it was used
    return batch


@functools.cache
def _scale(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """What to subtract from and multiply 0..255 with, (3, 1, 1) each; kept, since making them waits for the device."""
    with torch.inference_mode(False):
        shift = torch.tensor(mean, device=device).view(3, 1, 1) * 255
        return shift, 1 / (torch.tensor(std, device=device).view(3, 1, 1) * 255)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...], *, channels_last: bool = True) -> Tensor:
    """(B, 3, S, S) uint8 → float32 with (pixel / 255 - mean) / std, on the same device."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    shift, scale = _scale(tuple(mean), tuple(std), images.device)
    return images.to(torch.float32, memory_format=layout, copy=True).sub_(shift).mul_(scale)


def to_device(
    batch: Batch,
    device: torch.device | str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channels_last: bool = True,
) -> Batch:
    """The batch on `device`, its images normalised to float32. Copies from pinned memory do not block."""
    batch = batch.to(torch.device(device))
    return replace(batch, images=normalise(batch.images, mean, std, channels_last=channels_last))
