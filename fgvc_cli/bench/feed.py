"""Training steps on images from files, loaded by a run's own loader."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from fgvc_cli.bench.cases import Case
from fgvc_cli.bench.photographs import photographs
from fgvc_cli.bench.rounds import Progress, Stopwatch, timed
from fgvc_cli.bench.ways import Training
from fgvc_cli.data.loading.cache import Cache, Wanted, cache_in_file, decode_to, open_cache
from fgvc_cli.data.loading.cache_files import shared_memory
from fgvc_cli.data.loading.loader import Loader, default_workers, make_loader
from fgvc_cli.data.types import Batch, DatasetIndex
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import explained
from fgvc_cli.spec.run import RunSpec

_AHEAD_OF_A_WORKER = 2  # batches that a worker process prefetches
_AHEAD_OF_COPIES = 5  # batches copied from a cache in advance, at most
_AHEAD_ON_GPU = 1  # in addition, the batch being copied to the GPU


@dataclass
class Feed:
    """A loader, and how many batches it may have prefetched when it was not used for a while."""

    loader: Loader
    ahead: int
    epoch: int = 0

    def turn(self, way: Training, steps: int) -> tuple[float, ...]:
        """Seconds of each of `steps` steps, from taking a batch to the optimizer step.

        Batches that the loader prefetched during the turns of others are consumed first: they would hide a slow loader.
        """
        watch = Stopwatch(way.learner.device)
        with closing(self._batches()) as batches:

            def step() -> None:
                way.step(way.learner.prepared(next(batches)))

            for _ in range(self.ahead):
                step()
            return timed(step, steps, watch)

    def _batches(self) -> Generator[Batch]:
        """Batches of one epoch after another, without end."""
        while True:
            self.epoch += 1
            yield from self.loader.epoch(self.epoch)


@contextmanager
def opened_feeds(
    cases: Sequence[Case], index: DatasetIndex | None, device: torch.device, steps: int, progress: Progress
) -> Iterator[dict[str, Feed]]:
    """In this context, feeds by name of each case that was asked for, with a run's own loader and cache.

    Args:
        cases: the cases to load images for.
        index: a dataset; None: synthetic photographs, enough for `steps` steps in an epoch.
        device: the device of the training steps.
        steps: the largest number of steps in a turn.
        progress: called with the progress.

    Raises:
        BadRequest: there is not enough space for the images, fewer than a batch, or they have too many classes.
    """
    with tempfile.TemporaryDirectory(prefix="fgvc-bench-") as name:
        folder = Path(name)
        if index is not None:
            _check_enough(index, cases)
        drawn = _draw(folder, cases, steps, device, progress) if index is None else None
        feeds = {}
        for case in cases:
            if case.asked and drawn is not None:
                cache = _cache_of_drawn(case.spec, drawn, device, folder, progress)
                feeds[case.name] = _feed(case.spec, drawn, cache, device)
            elif case.asked and index is not None:
                cache = open_cache(index, case.spec.data, device, progress)
                feeds[case.name] = _feed(case.spec, index, cache, device)
        yield feeds


def _check_enough(index: DatasetIndex, cases: Sequence[Case]) -> None:
    """BadRequest if the dataset has too few images or too many classes for the cases."""
    batch, classes = max(case.spec.train.batch_size for case in cases), min(case.classes for case in cases)
    if len(index.train) < batch:
        raise BadRequest(
            f"--from-files: {len(index.train)} training images do not fill a batch of {batch}: lower --batch-size"
        )
    if len(index.classes) > classes:
        raise BadRequest(f"--from-files: {index.root} has {len(index.classes)} classes: leave --classes {classes} out")


def _draw(folder: Path, cases: Sequence[Case], steps: int, device: torch.device, progress: Progress) -> DatasetIndex:
    """Photographs for the largest turn, so that no epoch ends within it: the loader would have to start again."""
    (folder / "images").mkdir()
    workers = max(_workers(case.spec, device) for case in cases)
    ahead = max(_AHEAD_OF_COPIES, _AHEAD_OF_A_WORKER * workers) + _AHEAD_ON_GPU
    batch = max(case.spec.train.batch_size for case in cases)
    with explained(str(folder)):
        return photographs(folder / "images", (ahead + steps) * batch, progress)


def _workers(spec: RunSpec, device: torch.device) -> int:
    return default_workers(device) if spec.data.workers is None else spec.data.workers


def _feed(spec: RunSpec, index: DatasetIndex, cache: Cache | None, device: torch.device) -> Feed:
    loader = make_loader(
        index, index.train, spec.data, batch_size=spec.train.batch_size, train=True, device=device, cache=cache
    )
    return Feed(loader, _ahead(loader))


def _cache_of_drawn(
    spec: RunSpec, index: DatasetIndex, device: torch.device, folder: Path, progress: Progress
) -> Cache | None:
    """Like open_cache, but for temporary images: no cache is left behind."""
    wanted, cache = Wanted.of(index, spec.data), spec.data.cache
    if cache == "off":
        return None
    if cache == "gpu":
        return decode_to(wanted, device, progress)
    home = shared_memory() if cache == "ram" else folder
    return cache_in_file(wanted, home / wanted.name(), progress, passing=cache == "ram")


def _ahead(loader: Loader) -> int:
    cache = loader.dataset.cache
    if cache is not None and loader.dataset.spec.only_copies:
        return _AHEAD_ON_GPU if cache.on_device else _AHEAD_OF_COPIES + _AHEAD_ON_GPU
    return _AHEAD_OF_A_WORKER * loader.workers + _AHEAD_ON_GPU
