"""Training steps on images from files, as a run's own loader brings them."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from fgvc_cli.bench.photographs import photographs
from fgvc_cli.bench.rounds import Progress, Stopwatch, timed
from fgvc_cli.bench.ways import Case, Training
from fgvc_cli.data.loading.cache import Squares, Wanted, decode_to, open_squares, squares_in_file
from fgvc_cli.data.loading.cache_files import shared_memory
from fgvc_cli.data.loading.loader import Loader, default_workers, make_loader
from fgvc_cli.data.types import Batch, DatasetIndex
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import explained
from fgvc_cli.spec.run import RunSpec

_AHEAD_OF_A_WORKER = 2  # batches that a process prepares before they are asked for
_AHEAD_OF_COPIES = 5  # those on their way from a cache, at most
_AHEAD_ON_GPU = 1  # and the one that is copied to the GPU meanwhile


@dataclass
class Feed:
    """A loader, and how many batches it may have ready when nobody asked for a while."""

    loader: Loader
    ahead: int
    epoch: int = 0

    def turn(self, way: Training, steps: int) -> tuple[float, ...]:
        """Seconds of so many steps, from taking a batch to the update.

        What the loader had made while others had their turn is used up before: it would hide that it is slow.
        """
        watch = Stopwatch(way.learner.device)
        with closing(self._batches()) as batches:

            def step() -> None:
                way.step(way.learner.prepared(next(batches)))

            for _ in range(self.ahead):
                step()
            return timed(step, steps, watch)

    def _batches(self) -> Generator[Batch]:
        """Without end: an epoch follows the other."""
        while True:
            self.epoch += 1
            yield from self.loader.epoch(self.epoch)


@contextmanager
def opened_feeds(
    cases: Sequence[Case], index: DatasetIndex | None, device: torch.device, steps: int, progress: Progress
) -> Iterator[dict[str, Feed]]:
    """Within, by name of each case that was asked for, its training images through a run's own loader and cache.

    Args:
        cases: what is fed.
        index: a dataset; without one photographs are drawn, enough for so many `steps` in an epoch.
        device: where they go.
        steps: at most, of a turn.
        progress: is told.

    Raises:
        BadRequest: there is no room for the images, there are fewer than a batch, or they are of more classes.
    """
    with tempfile.TemporaryDirectory(prefix="fgvc-bench-") as name:
        folder = Path(name)
        if index is not None:
            _check_enough(index, cases)
        drawn = _draw(folder, cases, steps, device, progress) if index is None else None
        feeds = {}
        for case in cases:
            if case.asked and drawn is not None:
                squares = _squares_of_drawn(case.spec, drawn, device, folder, progress)
                feeds[case.name] = _feed(case.spec, drawn, squares, device)
            elif case.asked and index is not None:
                squares = open_squares(index, case.spec.data, device, progress)
                feeds[case.name] = _feed(case.spec, index, squares, device)
        yield feeds


def _check_enough(index: DatasetIndex, cases: Sequence[Case]) -> None:
    """BadRequest where the dataset does not go with what is measured."""
    batch, classes = max(case.spec.train.batch_size for case in cases), min(case.classes for case in cases)
    if len(index.train) < batch:
        raise BadRequest(
            f"--from-files: {len(index.train)} training images are no batch of {batch}: lower --batch-size"
        )
    if len(index.classes) > classes:
        raise BadRequest(f"--from-files: {index.root} has {len(index.classes)} classes: leave --classes {classes} out")


def _draw(folder: Path, cases: Sequence[Case], steps: int, device: torch.device, progress: Progress) -> DatasetIndex:
    """Photographs, as many as the largest turn takes: where an epoch ends, its loader starts anew."""
    (folder / "images").mkdir()
    workers = max(_workers(case.spec, device) for case in cases)
    ahead = max(_AHEAD_OF_COPIES, _AHEAD_OF_A_WORKER * workers) + _AHEAD_ON_GPU
    batch = max(case.spec.train.batch_size for case in cases)
    with explained(str(folder)):
        return photographs(folder / "images", (ahead + steps) * batch, progress)


def _workers(spec: RunSpec, device: torch.device) -> int:
    return default_workers(device) if spec.data.workers is None else spec.data.workers


def _feed(spec: RunSpec, index: DatasetIndex, squares: Squares | None, device: torch.device) -> Feed:
    loader = make_loader(
        index, index.train, spec.data, batch_size=spec.train.batch_size, train=True, device=device, squares=squares
    )
    return Feed(loader, _ahead(loader))


def _squares_of_drawn(
    spec: RunSpec, index: DatasetIndex, device: torch.device, folder: Path, progress: Progress
) -> Squares | None:
    """As open_squares, but nothing stays: the files themselves go."""
    wanted, cache = Wanted.of(index, spec.data), spec.data.cache
    if cache == "off":
        return None
    if cache == "gpu":
        return decode_to(wanted, device, progress)
    home = shared_memory() if cache == "ram" else folder
    return squares_in_file(wanted, home / wanted.name(), progress, passing=cache == "ram")


def _ahead(loader: Loader) -> int:
    squares = loader.dataset.squares
    if squares is not None and loader.dataset.spec.only_copies:
        return _AHEAD_ON_GPU if squares.on_device else _AHEAD_OF_COPIES + _AHEAD_ON_GPU
    return _AHEAD_OF_A_WORKER * loader.workers + _AHEAD_ON_GPU
