"""How fast training images are loaded, for every kind of cache and for a usual PyTorch loader."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from fgvc_cli.bench.photographs import photographs
from fgvc_cli.bench.plain import PlainImages, PlainLoader
from fgvc_cli.bench.rounds import Progress, Rates, in_turns
from fgvc_cli.data.loading.cache import Cache, Wanted, cache_in_file, decode_to
from fgvc_cli.data.loading.cache_files import shared_memory
from fgvc_cli.data.loading.loader import make_loader
from fgvc_cli.data.loading.to_device import to_device
from fgvc_cli.data.types import Batch, DatasetIndex
from fgvc_cli.machine.threads import cores
from fgvc_cli.spec.data import DataSpec

PLAIN = "Pillow, v1 transforms"


class _Source(Protocol):
    def epoch(self, epoch: int, /) -> Iterator[Batch | Tensor]: ...


@dataclass(frozen=True)
class Setting:
    """The settings of a measurement: at most `images` images, loaded by `workers` processes if a way uses them."""

    spec: DataSpec
    batch_size: int
    device: torch.device
    rounds: int
    images: int
    workers: int | None = None


@dataclass(frozen=True)
class Found:
    """Images per second of each way: as batches of the loader, and as float32 on the device."""

    images: int
    workers: int
    loaded: dict[str, Rates]
    ready: dict[str, Rates]

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON: images per second of every round."""
        rows = [
            {"name": name, "images_per_second": rates.rounds, "as_float32_per_second": self.ready[name].rounds}
            for name, rates in self.loaded.items()
        ]
        return {"what": "data", "images": self.images, "workers": self.workers, "rows": rows}


def measure(setting: Setting, index: DatasetIndex | None, progress: Progress) -> Found:
    """Images per second of every way; without an index, of synthetic photographs.

    Raises:
        BadRequest: there is not enough space for the images.
    """
    workers = cores() if setting.workers is None else setting.workers
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fgvc-bench-")))
        if index is None:
            (folder / "images").mkdir()
            index = photographs(folder / "images", setting.images, progress)
        train = index.train.take(torch.arange(min(setting.images, len(index.train))).numpy())
        index = replace(index, train=train, val=None)
        sources = dict(_sources(setting, index, workers, folder, progress))
        ways = {(name, ready): _way(source, setting, ready) for name, source in sources.items() for ready in (0, 1)}
        named = {f"{name}/{ready}": way for (name, ready), way in ways.items()}
        rates = in_turns(named, setting.rounds, progress)
    loaded, ready = ({name: Rates(rates[f"{name}/{kind}"]) for name in sources} for kind in (0, 1))
    return Found(len(train), workers, loaded, ready)


def _sources(
    setting: Setting, index: DatasetIndex, workers: int, folder: Path, progress: Progress
) -> Iterator[tuple[str, _Source]]:
    """Every way by name, the usual PyTorch loader first."""
    pin = setting.device.type == "cuda"
    plain = PlainImages(index.root, index.train, setting.spec)
    yield PLAIN, PlainLoader(plain, setting.batch_size, workers, pin_memory=pin)
    yield "no cache", _loader(setting, index, workers, None)
    wanted = Wanted.of(index, setting.spec)
    for cache, home in (("disk", folder), ("ram", shared_memory())):
        kept = cache_in_file(wanted, home / wanted.name(), progress, passing=cache == "ram")
        yield f"--cache {cache}", _loader(setting, index, workers, kept)
    if setting.device.type != "cpu" and setting.spec.only_copies:
        yield "--cache gpu", _loader(setting, index, workers, decode_to(wanted, setting.device, progress))


def _loader(setting: Setting, index: DatasetIndex, workers: int, cache: Cache | None) -> _Source:
    spec = setting.spec.model_copy(update={"workers": workers})
    return make_loader(
        index, index.train, spec, batch_size=setting.batch_size, train=True, device=setting.device, cache=cache
    )


def _way(source: _Source, setting: Setting, ready: int) -> Callable[[], float]:
    """A function that loads an epoch and returns images per second. `ready`: up to float32 on the device."""

    def way() -> float:
        started, images = time.perf_counter(), 0
        for batch in source.epoch(0):
            images += len(batch if isinstance(batch, Tensor) else batch.labels)
            if ready:
                _make_ready(batch, setting)
        if setting.device.type == "cuda":
            torch.cuda.synchronize(setting.device)
        return images / (time.perf_counter() - started)

    return way


def _make_ready(batch: Batch | Tensor, setting: Setting) -> None:
    if isinstance(batch, Tensor):
        batch.to(setting.device, non_blocking=True)
    else:
        to_device(batch, setting.device, *setting.spec.normalisation)
