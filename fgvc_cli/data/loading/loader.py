"""Images → batches. The batches are the same for any number of worker processes and after any resume.

Order and augmentation depend only on (seed, epoch, position); the global random state is neither used nor changed.
Images stay uint8 until they are on the device.
"""

from __future__ import annotations

import contextlib
import signal
import warnings
from collections.abc import Iterable, Iterator

import torch
from torch.utils.data import DataLoader

from fgvc_cli.data.images.read import ImageError
from fgvc_cli.data.loading.cache import Cache
from fgvc_cli.data.loading.cached_batches import CopiedBatches, DeviceBatches
from fgvc_cli.data.loading.order import BatchOrder, Shard
from fgvc_cli.data.loading.samples import ImageDataset, collate
from fgvc_cli.data.loading.to_device import ahead
from fgvc_cli.data.types import Batch, DatasetIndex, Split
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.machine.memory import SHARED_MEMORY_FULL, workers_that_fit
from fgvc_cli.machine.threads import cores, torch_threads
from fgvc_cli.spec.data import DataSpec


class Loader:
    """Batches of a split, epoch by epoch. `len` is the number of batches in an epoch."""

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
            raise BadRequest(
                f"{few} cannot be shared by {shard[1]} processes: start fewer processes, or raise --batch-size"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.workers = workers
        self.device = device or torch.device("cpu")
        self.notes: tuple[str, ...] = ()
        balance = dataset.split.labels if balanced else None
        count, train = len(dataset), dataset.train
        self.plan = BatchOrder(count, batch_size, train=train, seed=dataset.seed, balance=balance, shard=shard)
        self._batches = self._source(pin_memory)

    def _source(self, pin_memory: bool) -> Iterable[Batch | ImageError]:
        """Batches copied from cached images if cropping and flipping are the only transforms, else a DataLoader."""
        dataset = self.dataset
        if dataset.cache is not None and (dataset.spec.only_copies or not dataset.train):
            source = DeviceBatches if dataset.cache.on_device else CopiedBatches
            return source(dataset, self.plan, pin_memory=pin_memory)
        with _many_workers_allowed():
            return DataLoader(
                dataset,
                batch_sampler=self.plan,
                collate_fn=collate,
                num_workers=self.workers,
                persistent_workers=self.workers > 0,
                pin_memory=pin_memory,
                worker_init_fn=_start_worker,
                generator=torch.Generator().manual_seed(0),  # else each epoch would use the global generator
            )

    def __len__(self) -> int:
        return len(self.plan)

    @property
    def batch_images(self) -> int:
        """Number of images in a training batch, over all processes."""
        return min(self.batch_size, len(self.dataset))

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Batches of an epoch on the loader's device, from `start_batch` on. Images of earlier batches are not read.

        Worker processes start at once. Starting the next epoch ends the one before. Raises ImageError for the first
        image that cannot be read, FgvcError if a worker process dies.
        """
        self.plan.epoch, self.plan.start = epoch, start_batch
        with _many_workers_allowed():
            batches = iter(self._batches)
        return ahead(_checked(batches, threads=None if self.workers else 1), self.device)


@contextlib.contextmanager
def _many_workers_allowed() -> Iterator[None]:
    """Hides PyTorch's warning about more workers than cores: the user chose their number."""
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
            raise FgvcError(f"a worker process died: {_why_dead(str(error))}") from error
        if isinstance(batch, ImageError):
            try:
                raise batch
            finally:
                del batch, batches  # else a cycle of error, traceback and this frame would keep the workers alive
        yield batch


def _why_dead(message: str) -> str:
    if "Bus error" in message:  # a write into shared memory that has no room left
        return SHARED_MEMORY_FULL
    return "probably memory ran out; use fewer with --workers, 0 for none"


def _start_worker(worker: int) -> None:
    """Workers ignore Ctrl-C, so that the main process can finish its step. Each uses one thread, to share the cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # how the main process ends a worker
    torch.set_num_threads(1)


def default_workers(device: torch.device | str = "cpu") -> int:
    """The default number of worker processes.

    0 if the network runs on the CPU: it keeps all cores busy, and reading takes under a tenth of its time. For a GPU,
    one less than the number of cores, at most 8.
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
    cache: Cache | None = None,
) -> Loader:
    """A loader of one of the index's splits.

    Training shuffles, augments and drops an incomplete last batch unless it is the only one. Evaluation keeps all
    images in order.

    Args:
        index: the dataset.
        split: one of its splits.
        spec: transforms, cache and workers.
        batch_size: images in a batch, over all processes.
        train: whether to shuffle and augment.
        seed: of order and augmentation.
        device: where the batches go.
        balanced: an epoch shows every class equally often.
        shard: rank and number of the processes that share each batch.
        cache: cached images to use (`cache.open_cache`).

    Raises:
        BadRequest: the split is empty, or there are fewer images than processes.
    """
    device = torch.device(device)
    dataset = ImageDataset(index.root, split, spec, train=train, seed=seed, cut_bottom=index.cut_bottom, cache=cache)
    wished = default_workers(device) if spec.workers is None else spec.workers
    workers = workers_that_fit(wished, min(batch_size, len(split)) // shard[1] * spec.side**2 * 3)
    pinned = device.type == "cuda"
    loader = Loader(
        dataset, batch_size, workers=workers, pin_memory=pinned, balanced=balanced, shard=shard, device=device
    )
    if workers < wished:
        loader.notes = (f"{workers} worker processes, not {wished}, since no more batches fit: {SHARED_MEMORY_FULL}",)
    return loader
