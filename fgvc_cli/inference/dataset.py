"""The images that a run's model is measured on: a split of the run's own data, or new photos; the evaluation loader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.images.check import examine
from fgvc_cli.data.loading.cache import Cache
from fgvc_cli.data.loading.loader import Loader, make_loader
from fgvc_cli.data.splits import apply_record, apply_spec
from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.new_photos import OWN_SPLIT, Named, find_new
from fgvc_cli.inference.request import EvalRequest, with_request
from fgvc_cli.inference.trained import Trained
from fgvc_cli.machine.distributed import world
from fgvc_cli.progress import progress_of
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console


class NoSplitError(BadRequest):
    """A run has no split of that name."""


@dataclass(frozen=True)
class Images:
    """Labelled images to show to a run's model."""

    named: Named  # their results are kept under this name
    index: DatasetIndex  # of new photos: its classes are the model's, its test split are the photos
    split: Split
    left_out: Mapping[str, int] = field(default_factory=dict)  # images of unknown classes, by class

    @property
    def facts(self) -> dict[str, Any]:
        """What the results of new photos say about them; empty for the run's own data."""
        return {} if self.named.new is None else {**self.named.new, "left_out": dict(self.left_out)}

    @property
    def name(self) -> str:
        """The name of the split or of the new photos."""
        return self.named.name


def open_images(
    run: RunFolder, trained: Trained, request: EvalRequest, console: Console, index: DatasetIndex | None = None
) -> Images:
    """The images that a request names. `index`: the run's own data, if they are read already.

    Raises:
        BadRequest: the data cannot be used, or new photos have unknown classes.
        NoSplitError: the run has no such split.
    """
    new = None if index is not None else find_new(run, trained.spec.data, trained.classes, request)
    if new is not None:
        index, left_out = new.index(trained.classes, request, console)
        _tell(index, console)
        return Images(Named(new.name, new.facts), index, index.test, left_out)
    index = open_index(run, with_request(trained.spec, request).data, console) if index is None else index
    name = request.split or OWN_SPLIT
    gone: dict[str, int] = {}
    if trained.changed:
        index, gone = with_classes(index, trained.classes, name)
    try:
        return Images(Named(name), index, index.split(name), gone)
    except KeyError:
        raise NoSplitError(f"{run.path} has no {name} split; --val-fraction takes one from train") from None


def with_classes(index: DatasetIndex, classes: tuple[str, ...], split: str) -> tuple[DatasetIndex, dict[str, int]]:
    """The index with labels in a model's classes, which were enrolled or removed since it was trained.

    Returns:
        The index without images of classes that the model no longer knows, and how many of each `split` had.
    """
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number.get(name, -1) for name in index.classes], dtype=np.int64)

    def kept(part: Split) -> Split:
        known = part.take(np.flatnonzero(labels[part.labels] >= 0))
        return replace(known, labels=labels[known.labels])

    gone = [index.classes[label] for label in index.splits().get(split, index.test).labels if labels[label] < 0]
    val = None if index.val is None else kept(index.val)
    found = replace(
        index,
        classes=classes,
        train=kept(index.train),
        test=kept(index.test),
        val=val,
        part_options=(),
        taxonomy=None if index.taxonomy is None else index.taxonomy.for_classes(classes),
    )
    return found, dict(Counter(gone))


def open_index(run: RunFolder, data: DataSpec, console: Console) -> DatasetIndex:
    """The run's dataset: with the recorded splits if fgvc drew them, else with the spec's splits and limits."""
    recorded = run.splits_file.exists()
    # The record lists each split's images, so the groups that the splits were drawn by are no longer needed.
    tree = run.taxonomy()  # nor is the file of the tree, unless the classes are one of its levels
    gone: dict[str, Any] = {"group_by": None} if recorded else {}
    gone |= {"label_fixes": run.label_fixes_file} if run.label_fixes_file.exists() else {}
    gone |= {"taxonomy": None} if tree is not None and data.level is None else {}
    index = load_index(data.model_copy(update=gone), progress=progress_of(console))
    index = apply_record(index, run.splits()) if recorded else apply_spec(index, data)
    if tree is not None:
        index = replace(index, taxonomy=Taxonomy.of_record(tree).for_classes(index.classes))
    index = examine(index, data, recorded=recorded, progress=progress_of(console))
    _tell(index, console)
    return index


def _tell(index: DatasetIndex, console: Console) -> None:
    for note in index.notes:
        console.note(note)


def evaluation_loader(
    index: DatasetIndex,
    split: Split,
    spec: RunSpec,
    device: torch.device,
    *,
    shared: bool = True,
    cache: Cache | None = None,
) -> Loader:
    """Every image of a split, in order, without random augmentation.

    With `shared` the images are divided among the run's processes, else each process gets all. They are read from the
    `cache`, if given.
    """
    size = spec.train.eval_batch_size or spec.train.batch_size
    here = world()
    shard = (here.rank, here.size) if shared else (0, 1)
    size = max(size, shard[1])
    return make_loader(index, split, spec.data, batch_size=size, train=False, device=device, shard=shard, cache=cache)
