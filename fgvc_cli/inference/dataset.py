"""The data of a run: its dataset index with the run's own splits, a split by name, the evaluation loader."""

from __future__ import annotations

import torch
from rich.console import Console

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.images.check import examine
from fgvc_cli.data.loading.cache import Squares
from fgvc_cli.data.loading.loader import Loader, make_loader
from fgvc_cli.data.splits import apply_record, apply_spec
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.distributed import world
from fgvc_cli.progress import progress_of
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.spec.run import RunSpec


class NoSplitError(BadRequest):
    """A run has no split of that name."""


def split_of(run: RunFolder, index: DatasetIndex, name: str) -> Split:
    """A split of a run's data by name. NoSplitError if the run has no split of that name."""
    try:
        return index.split(name)
    except KeyError:
        raise NoSplitError(f"{run.path} has no {name} split; --val-fraction takes one from train") from None


def open_index(run: RunFolder, data: DataSpec, console: Console) -> DatasetIndex:
    """The run's dataset: with the recorded splits if fgvc drew them, else with the spec's splits and limits."""
    recorded = run.splits_file.exists()
    # The record lists each split's images, so the groups that the splits were drawn by are no longer needed.
    index = load_index(data.model_copy(update={"group_by": None}) if recorded else data, progress=progress_of(console))
    index = apply_record(index, run.splits()) if recorded else apply_spec(index, data)
    index = examine(index, data, recorded=recorded, progress=progress_of(console))
    for note in index.notes:
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    return index


def evaluation_loader(
    index: DatasetIndex,
    split: Split,
    spec: RunSpec,
    device: torch.device,
    *,
    shared: bool = True,
    squares: Squares | None = None,
) -> Loader:
    """Every image of a split, in order, without random augmentation.

    With `shared` the images are divided among the run's processes, else each process gets all. They are read from the
    cache `squares`, if given.
    """
    size = spec.train.eval_batch_size or spec.train.batch_size
    here = world()
    shard = (here.rank, here.size) if shared else (0, 1)
    size = max(size, shard[1])
    return make_loader(
        index, split, spec.data, batch_size=size, train=False, device=device, shard=shard, squares=squares
    )
